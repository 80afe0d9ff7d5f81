"""Subtitles of sentences with times: phrases, lines, cues within limits, files, and a report of what breaks a limit.

st and users may import all of it; it imports lhotse_prep and nothing of st.
"""
