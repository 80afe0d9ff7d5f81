"""What every recogniser gives, words with times and scores, and how a recogniser of windows becomes one of lectures.

Every room of asr that decodes, and st, may import all of it; it imports lhotse_prep.
"""
