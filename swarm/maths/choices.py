"""Names of ways to compute that options offer; nothing is imported for them, so that `--help` is quick."""

EDGES = ("tree", "bernoulli")
"""Which edges a decoded graph has, see `decode.DecodeRule`."""

RENORMALISE = ("ordinary", "softmax")
END_RULES = ("softmax", "lowest")
COMBINE = ("linear", "exact", "svd")
"""How experts are combined, see `swarm.weights`."""
