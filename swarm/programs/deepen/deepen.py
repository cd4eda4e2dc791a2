"""`h-swarm deepen`: the published token fusion program's steps, on their own (arXiv 2404.12715)."""

from swarm.programs.subcommands import Step, Stepwise

STEPS = {
    "matrix": Step("what the models' tokens have in common, worked out and saved", "matrix"),
    "run": Step("a config's questions, answered by its models together; goes on where it was stopped", "run"),
    "eval": Step("scores of result files: the published metric beside a strict one", "evaluate_results"),
    "sweep": Step("accuracy and time over updates, learning rates, anchors and models", "sweep"),
    "order": Step("a config with its models by their dev score, the best one first", "order"),
    "picture": Step("how alike tokens lie in the relative spaces of several models", "picture"),
}
DEEPEN = Stepwise("deepen", "DeePEn on its own: models with different vocabularies write one text.", STEPS, __package__)
step_parser = DEEPEN.step_parser


def deepen_program(arguments: list[str] | None = None) -> int:
    """`h-swarm deepen`. Returns the exit code."""
    return DEEPEN.run(arguments)
