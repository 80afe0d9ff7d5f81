"""Building blocks of the Zipformer: schedules, activations, regularisers, depthwise convolutions, frame masks.

Every room of asr may import all of it; it imports nothing from asr.
"""
