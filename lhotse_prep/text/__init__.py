"""Text as it is written, compared and counted: normalisation, Chinese script, odd characters, pinyin syllables.

Every room but workflow may import all of it; it imports workflow alone.
"""
