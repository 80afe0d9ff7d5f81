"""What every recogniser gives: the words of a whole recording with times and scores, and the interfaces for it.

Every room of asr that decodes, and st, may import all of it; it imports lhotse_prep.
"""
