"""A user's corpus, whatever it is, to a source folder: kinds of corpora told apart, and folders of lectures read.

The command line and stage 0 may import `detect`; later rooms take what they need of a corpus from `source`.
"""
