"""Language models over the recogniser's tokens, for shallow fusion: n-grams in ARPA files, and an LSTM."""
