"""Fusion: models with different vocabularies choose every token together."""
