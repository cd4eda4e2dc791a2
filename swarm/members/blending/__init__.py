"""Answers of all members ranked by a model that compares them, and the best of them fused (LLM-Blender)."""
