"""The cascade: a whole lecture is recognised, translated, written as subtitles, and scored.

local/ and users may import it; it imports asr, mt and scoring.
"""
