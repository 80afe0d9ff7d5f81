"""Sentence pairs from a lecture's transcript and translation, and windows with the translations of their sentences.

The command line and stage 7 may import `write` and `translated_cuts`; this room may import every other room.
"""
