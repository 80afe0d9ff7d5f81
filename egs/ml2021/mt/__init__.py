"""Text translation, transcript to English."""
