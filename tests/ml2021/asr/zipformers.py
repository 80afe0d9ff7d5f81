"""Encoders of the smallest sizes, which tests share."""

from __future__ import annotations

from ml2021.asr.model.zipformer.config import ZipformerConfig

TWO_STACKS = ZipformerConfig(  # the second one downsampled
    num_encoder_layers=(1, 1),
    downsampling_factor=(1, 2),
    encoder_dim=(24, 32),
    encoder_unmasked_dim=(16,),
    feedforward_dim=(32,),
    num_heads=(2,),
    query_head_dim=(8,),
    cnn_module_kernel=(7,),
    embed_channels=(4, 8, 16),
)
OF_ALIGNER = ZipformerConfig(
    num_encoder_layers=(1,),
    downsampling_factor=(1, 2),
    encoder_dim=(32,),
    encoder_unmasked_dim=(32,),
    feedforward_dim=(32,),
    num_heads=(2,),
    cnn_module_kernel=(7,),
    embed_channels=(4, 8, 16),
)
