"""Tokens of a recogniser and units of an aligner: token table, BPE, byte-BPE, lang folder, pronunciation units.

Later rooms may import all of it; it imports workflow and text.
"""
