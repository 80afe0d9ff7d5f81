"""The report of a run: one self-contained HTML page, plots of cuts, and the table of figures.

local/ may import it; it reads files of the other rooms and imports scoring alone.
"""
