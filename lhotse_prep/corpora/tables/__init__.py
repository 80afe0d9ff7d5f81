"""Parquet tables of lectures, of utterances, or of both joined, to a source folder.

`corpora.detect` may import it; it imports `corpora.source` and what that imports.
"""
