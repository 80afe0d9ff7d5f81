"""Sources of lectures, one module each; all end as a folder of audio and text."""
