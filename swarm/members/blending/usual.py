"""What a blend is by default; nothing is imported for it."""

PAIRRM = "llm-blender/PairRM-hf"
GEN_FUSER = "llm-blender/gen_fuser_3b@refs/pr/1"
TOP = 3  # answers that are fused, as published
MODES = ("all", "bubble")
"""Which pairs of answers are compared: all, or as many as the first places take."""
