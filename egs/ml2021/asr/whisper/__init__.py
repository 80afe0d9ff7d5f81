"""Whisper by faster-whisper: folders and names of CTranslate2 models, and a recogniser of windows with guards.

recognisers, benchmarks and the tests may import all of it; it imports words and lhotse_prep.
"""
