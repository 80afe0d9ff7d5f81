"""Export of the recogniser to ONNX for utterances and streams, its check with sherpa-onnx, and the model card.

Stage 11 and st may import all of it; it imports model, search and scoring.
"""
