"""The recogniser as a network (encoder, prediction network, joiner, CTC head), and loading it.

Every other room of asr may import all of it; it imports its own inner rooms and training.
"""
