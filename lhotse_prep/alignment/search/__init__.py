"""The exact search for the best path of a text through a lecture's log-probs, and which of its times are in doubt.

`alignment` may import it, `align` and `strays` above all; it imports workflow alone.
"""
