"""Times for a text that is known: texts and subtitle files read, their times as hints, and the choice of an aligner.

st and benchmarks may import all of it; it imports asr and lhotse_prep and nothing of st.
"""
