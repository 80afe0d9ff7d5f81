"""Searches for the best token sequence, one per file, and decoding of streams.

train, decode, export and st may import all of it, mainly `methods`; it imports model and fusion.
"""
