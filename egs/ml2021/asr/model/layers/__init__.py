"""What the Zipformer's layers are made of: schedules, activations, regularisers, depthwise convolutions, masks.

Every room of asr may import all of it; it imports nothing of asr.
"""
