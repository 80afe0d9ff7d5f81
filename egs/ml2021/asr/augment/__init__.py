"""Augmentation of what a recogniser is trained on: masks over features; rooms, noise and codecs in its sound.

train and all rooms after it may import all of it; it imports only training.
"""
