"""Judges: language models that are asked how good an answer is."""
