"""Training and decoding with icefall's own, unmodified scripts on this recipe's files, and import of its checkpoints.

Stages 5 and 6 may import all of it; it imports every room of asr except aligner and export.
"""
