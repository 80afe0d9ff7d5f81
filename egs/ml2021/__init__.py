"""Recogniser, aligner, translator and their cascade for long code-switched lectures.

local/ and users may import it; it imports lhotse_prep, which does not import it.
"""
