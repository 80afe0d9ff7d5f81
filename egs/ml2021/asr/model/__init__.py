"""The recogniser as a network: encoder, prediction network, joiner, CTC head; and how it is loaded.

Every other room of asr may import all of it; it imports its own inner rooms and training.
"""
