"""Transcript and translation of a lecture to sentence pairs, and windows with their translations.

The command line and stage 7 may import `write` and `window_translations`; it imports every other room.
"""
