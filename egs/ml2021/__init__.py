"""Recogniser, translator and their cascade for long code-switched lectures."""
