"""Lhotse manifests of a source folder: writing, checking, validation, safe reading, and exact times of utterances.

Later rooms may import all of it; it imports corpora and the rooms before it.
"""
