"""The report of a run: one self-contained HTML page, plots of cuts, and the table of results.

local/ may import it; it reads files that the other rooms write, but imports only scoring.
"""
