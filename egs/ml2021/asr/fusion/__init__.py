"""Shallow fusion, which adds to the scores of hypotheses: language models, external and internal, lexicons, hotwords.

search, decode, export and st may import all of it; it imports words, model, training and lhotse_prep.
"""
