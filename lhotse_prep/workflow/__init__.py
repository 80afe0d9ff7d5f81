"""What stages are built from: errors, strict configuration, whole files, locks, `.done` marks, executors, entry points.

Every room may import all of it; it imports no other room.
"""
