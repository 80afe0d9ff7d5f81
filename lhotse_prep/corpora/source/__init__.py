"""The source folder, the one form that every corpus is brought into: its files, its parts, limits of good data.

Every later room may import all of it; it imports workflow, text and audio.
"""
