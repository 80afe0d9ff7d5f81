"""Audio: the gate that makes 16 kHz mono of recordings or refuses them, features, voice activity, speech synthesis.

Every room but workflow and text may import all of it; it imports only workflow.
"""
