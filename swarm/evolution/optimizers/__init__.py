"""Optimizers of candidates: what proposes them, and learns from their scores."""
