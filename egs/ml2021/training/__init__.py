"""The one training loop with its state, checkpoints and optimisers, for whatever model a task brings.

asr and mt may import all of it; it imports lhotse_prep alone.
"""
