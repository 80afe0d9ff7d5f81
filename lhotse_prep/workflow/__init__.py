"""Parts of stages: errors, strict configuration, digests, files, locks, `.done` marks, executors, entry points.

Every room may import all of it; it imports no other room.
"""
