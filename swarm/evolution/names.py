"""Names of optimizers and of compatibility modes, and what a mode sets; nothing is imported for them."""

SWARM_NAME, EVOLUTION = "swarm", "evolution"
ONLY_SWARM = (SWARM_NAME,)
BY_CANDIDATES = (EVOLUTION, "swarm-local", "cmaes", "random")
OWN_OPTIMIZERS = (EVOLUTION, SWARM_NAME, *BY_CANDIDATES[1:])
PAPER, PAPER_CODE = "paper", "paper-code"
PAPER_CODE_DEFAULTS = {
    "patience": 10,
    "max_iteration": 200,
    "scorer": "compat",
    "credit_graph": "iteration",
    "patience_on": "graph",
    "thoughts": "keep",
}
COMPAT_DEFAULTS = {
    PAPER: {"top_p": 0.8, "edges": "bernoulli", "repel_term": True},
    PAPER_CODE: PAPER_CODE_DEFAULTS,
}
PAPER_RANGES = {
    "inertia": (0.1, 0.2, 0.3),
    "cognitive_coeff": (0.1, 0.2, 0.3, 0.4, 0.5),
    "social_coeff": (0.2, 0.3, 0.4, 0.5, 0.6),
    "repel_coeff": (0.01, 0.05, 0.1),
    "step_length": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
}
"""From what the paper chooses a run's coefficients (2502.04510, appendix); `--compat paper` draws them by the seed."""
