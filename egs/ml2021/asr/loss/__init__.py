"""Losses of the transducer: the lattice, the pruned RNN-T loss (equal to k2's), CTC, and all losses of a batch.

train and benchmarks may import all of it; it imports model.
"""
