"""Losses of the transducer: the lattice, the pruned RNN-T loss with k2's numbers, and the sum of all for a batch.

train and benchmarks may import all of it; it imports model.
"""
