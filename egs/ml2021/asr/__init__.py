"""Speech recognition: a transducer trained on windows, decoded on windows, streams and whole lectures.

st may import its rooms; mt never does, and it imports nothing of mt, st or report.
"""
