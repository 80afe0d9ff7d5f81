"""The cascade: a whole lecture through recogniser and translator to subtitles."""
