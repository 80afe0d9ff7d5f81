"""icefall's own training and decoding scripts, run unmodified on this recipe's cuts, tokens and experiment folder."""
