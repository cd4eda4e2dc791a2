"""scripts/deepen.py: the published token fusion program's steps, on their own (arXiv 2404.12715)."""

from swarm.stepwise import Step, Stepwise

STEPS = {
    "matrix": Step("what the models' tokens have in common, worked out and saved", "swarm.deepen.matrix"),
    "run": Step(
        "a config's questions, answered by its models together; goes on where it was stopped", "swarm.deepen.run"
    ),
    "eval": Step("scores of result files: the published metric beside a strict one", "swarm.deepen.evaluation"),
    "sweep": Step("accuracy and time over updates, learning rates, anchors and models", "swarm.deepen.sweep"),
    "picture": Step("how alike tokens lie in the relative spaces of several models", "swarm.deepen.picture"),
}
DEEPEN = Stepwise("deepen.py", "DeePEn on its own: models with different vocabularies write one text.", STEPS)
step_parser = DEEPEN.step_parser


def deepen_program(arguments: list[str] | None = None) -> int:
    """scripts/deepen.py. Returns the exit code."""
    return DEEPEN.run(arguments)
