"""The small corpus that the recipe makes itself: a grammar of sentences in two languages, spoken by a synthesiser.

Stage 0 and benchmarks may import `config` and `make`; it imports workflow, text and audio.
"""
