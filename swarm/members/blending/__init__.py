"""Blends: all members' answers are ranked by a pairwise ranker, and the best of them fused (LLM-Blender)."""
