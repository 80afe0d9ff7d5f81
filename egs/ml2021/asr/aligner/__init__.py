"""Stage 3: an acoustic model that learns on the lectures that it aligns, or one that is given.

stage 3 and benchmarks may import all of it; it imports model, train, training and lhotse_prep.alignment.
"""
