"""Opens whatever recogniser a folder or name is: of this project, sherpa-onnx, faster-whisper, Qwen3-ASR.

st, stage 3 and benchmarks may import all of it; it imports decode, the rooms of recognisers, words and lhotse_prep.
"""
