"""Training of the recogniser: configuration, command line, data, first weights, task.

decode, aligner, export and icefall may import all of it; it imports model, loss, search, augment and training.
"""
