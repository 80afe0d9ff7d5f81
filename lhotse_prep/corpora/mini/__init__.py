"""The mini corpus, which the recipe makes itself: bilingual sentences from a grammar, spoken by a synthesiser.

Stage 0 and benchmarks may import `config` and `make`; it imports workflow, text and audio.
"""
