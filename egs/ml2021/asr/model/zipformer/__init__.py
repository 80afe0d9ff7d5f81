"""The Zipformer encoder (Yao et al., 2023): embedding, attention, convolution, layer, stacks.

`asr.model` may import all of it, other rooms its `config`; it imports `layers`.
"""
