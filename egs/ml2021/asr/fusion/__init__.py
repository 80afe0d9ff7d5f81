"""Shallow fusion, which adds to the scores of hypotheses: n-gram and LSTM language models, their training, hotwords.

search, decode, export and st may import all of it; it imports words, training and lhotse_prep.
"""
