"""Scores of recognition and translation: MER, BLEU, COMET, normalisers, intervals, icefall's files.

asr, mt, st and report may import all of it; it imports lhotse_prep alone.
"""
