"""Values of decoding chosen on dev, hotwords of a corpus's rare English terms, and how many of these are recognised.

Nothing but tests imports it; it imports every room of asr from words to decode, scoring and lhotse_prep.
"""
