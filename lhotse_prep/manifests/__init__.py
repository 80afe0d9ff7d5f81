"""Lhotse manifests of a source folder: made, checked, validated, read safely; and times that are known exactly.

Later rooms may import all of it; it imports corpora and what comes before them.
"""
