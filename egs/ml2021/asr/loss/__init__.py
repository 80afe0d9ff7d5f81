"""Losses of the transducer: the lattice, the pruned RNN-T loss (equal to k2's), CTC and CR-CTC, and all of a batch.

train and benchmarks may import all of it; it imports model.
"""
