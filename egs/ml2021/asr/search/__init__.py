"""Searches for the best token sequence, one a file, and streams.

train, decode, export and st may import all of it, `methods` above all; it imports model and fusion.
"""
