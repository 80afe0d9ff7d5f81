"""icefall's own training and decoding scripts, unmodified, on this recipe's files; and its checkpoints taken over.

stages 5 and 6 may import all of it; it imports every room of asr but aligner and export.
"""
