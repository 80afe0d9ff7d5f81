"""From a corpus of lectures to Lhotse manifests, alignments, windows and sentence pairs, with no model of its own.

ml2021, local/ and users may import any of its rooms; nothing here imports ml2021.
"""
