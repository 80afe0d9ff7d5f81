"""Decoding of windows, streams and whole lectures, these with any recogniser, and its command line.

st, tuning and aligner may import all of it; it imports every room of asr from words to train, and scoring.
"""
