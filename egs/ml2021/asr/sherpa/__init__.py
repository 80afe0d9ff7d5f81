"""Model folders of sherpa-onnx: which family a folder is, its checks, and a recogniser of windows in a worker process.

recognisers and the tests may import all of it; it imports words and lhotse_prep.
"""
