"""Searches over a trained transducer, one a file."""
