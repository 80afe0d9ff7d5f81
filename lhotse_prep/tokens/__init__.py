"""Tokens of the recogniser and units of the aligner: token tables, BPE, byte-BPE, lang folders, pronunciation units.

Later rooms may import all of it; it imports workflow and text.
"""
