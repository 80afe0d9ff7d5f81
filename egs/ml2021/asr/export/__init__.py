"""The recogniser for other runtimes: ONNX files for utterances and streams, checked in sherpa-onnx; the model card.

stage 11 and st may import all of it; it imports model, search and scoring.
"""
