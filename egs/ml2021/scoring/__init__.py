"""Scores of recognition and translation."""
