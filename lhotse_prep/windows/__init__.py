"""Lectures cut at pauses into windows with features (Lhotse cuts, Shar), and the reading of these windows.

Stage 4, the command line, bitext and ml2021 may import all of it; it imports manifests and the rooms before it.
"""
