"""Parts of stages: errors, strict configuration, digests, files, locks, `.done` marks, executors, entry points,
folders of models on the hub, CTranslate2's device.

Every room may import all of it; it imports no other room.
"""
