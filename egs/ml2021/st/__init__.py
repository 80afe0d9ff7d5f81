"""The cascade: a whole lecture through recogniser and translator to subtitles and their scores.

local/ and users may import it; it imports asr, mt and scoring.
"""
