"""Scores of recognition and translation (MER, BLEU, COMET) with normalisers, confidence intervals and result files.

asr, mt, st and report may import from it; it imports only from lhotse_prep.
"""
