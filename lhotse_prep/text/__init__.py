"""Text: normalisation, counts of characters, Chinese script, odd characters, pinyin syllables, CC-CEDICT.

Every room but workflow may import all of it; it imports only workflow.
"""
