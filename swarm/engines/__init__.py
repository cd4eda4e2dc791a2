"""Engines: they generate completions for prompts."""
