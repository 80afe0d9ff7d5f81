"""Aligned lectures cut into windows at pauses, with features, as Lhotse cuts and Shar; and windows read back.

bitext and ml2021 may import all of it; it imports manifests and what comes before them.
"""
