"""Speech recognition: a transducer trained on windows, decoded on windows and on whole lectures."""
