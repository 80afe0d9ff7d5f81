"""Pseudo-labels: windows of recordings without text, with the words that two searches agree on, to train on.

Nothing imports it; it imports every room of asr from words to decode, scoring, and lhotse_prep's windows.
"""
