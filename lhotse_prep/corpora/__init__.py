"""A user's corpus to a source folder: which kind of corpus it is, and the import of a folder of lectures.

Stages 0 and 1 and the command line may import `detect`; later rooms import only `source` from here.
"""
