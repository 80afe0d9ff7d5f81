"""Times for the words of a transcript, from a model's log-probs or a recogniser's words, and the files of stage 3.

`windows`, `bitext` and ml2021 may import all of it; it imports `manifests` and the rooms before it.
"""
