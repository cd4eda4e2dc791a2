"""`h-swarm route`: one prompt to one expert, on its own: rank, fit, eval, ask, replay."""

from swarm.programs.subcommands import Step, Stepwise

STEPS = {
    "rank": Step("every member's answers scored by several metrics, and how these agree", "rank"),
    "fit": Step("every member's answers to the dev questions scored, a router fitted on them", "fit_router"),
    "eval": Step("a router on the test questions, beside every member and a perfect choice", "evaluate_router"),
    "ask": Step("a prompt to the one member that the router picks", "ask"),
    "replay": Step("a router fitted and tried on stored answers and scores, nothing generated", "replay"),
}
ROUTE = Stepwise(
    "route", "Routers: which member answers which prompt, so that only that one is asked.", STEPS, __package__
)


def route_program(arguments: list[str] | None = None) -> int:
    """`h-swarm route`. Returns the exit code."""
    return ROUTE.run(arguments)
