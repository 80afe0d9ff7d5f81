"""From a corpus of lectures to Lhotse manifests, alignments, windows and bitext. Knows nothing of models."""
