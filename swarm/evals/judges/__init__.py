"""Judges: language models that rate answers."""
