"""Stage 3: alignment with an acoustic model that learns on the lectures themselves, or with a given model.

Stage 3 and benchmarks may import all of it; it imports model, train, training and lhotse_prep.alignment.
"""
