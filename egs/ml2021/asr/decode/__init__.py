"""Decoding of windows, of whole lectures of any length, and of streams, with their command lines.

st may import all of it; it imports every room of asr from model to train, and scoring.
"""
