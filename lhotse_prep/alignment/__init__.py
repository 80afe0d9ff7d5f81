"""Times for the words of a transcript: first times, units to words, other recognisers' words, stretches, confidence.

windows, bitext and ml2021 may import all of it; it imports manifests and what comes before them.
"""
