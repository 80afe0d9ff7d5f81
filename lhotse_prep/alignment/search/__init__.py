"""The exact search for the best path of a text through a lecture's log-probs, and for the times that are in doubt.

`alignment` may import it, chiefly `align` and `strays`; it imports workflow only.
"""
