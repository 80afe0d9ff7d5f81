"""The training loop that all models share, with its state, checkpoints and optimisers.

asr and mt may import from it; it imports only from lhotse_prep.
"""
