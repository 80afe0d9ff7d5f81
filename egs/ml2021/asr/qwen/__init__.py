"""Qwen3-ASR by transformers: its recogniser of windows, and its forced aligner.

recognisers, the aligner and st may import all of it; it imports words and lhotse_prep.
"""
