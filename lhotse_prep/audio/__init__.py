"""Audio: conversion to 16 kHz mono, inspection, log-mel features, voice activity, speech synthesis.

Every room but workflow and text may import all of it; it imports only workflow.
"""
