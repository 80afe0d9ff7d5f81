"""The source folder, the form into which every corpus is brought: its files, its parts, and the limits of good data.

Every later room may import all of it; it imports workflow, text and audio.
"""
