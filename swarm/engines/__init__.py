"""Engines: prompts in, texts out."""
