"""scripts/route.py: one prompt to one expert, on its own: rank, fit, eval, ask, replay."""

from swarm.stepwise import Step, Stepwise

STEPS = {
    "rank": Step("every member's answers scored by several metrics, and how these agree", "swarm.route.ranking"),
    "fit": Step("every member's answers to the dev questions scored, a router fitted on them", "swarm.route.fitting"),
    "eval": Step("a router on the test questions, beside every member and a perfect choice", "swarm.route.evaluation"),
    "ask": Step("a prompt to the one member that the router picks", "swarm.route.asking"),
    "replay": Step("a router fitted and tried on stored answers and scores, nothing generated", "swarm.route.replay"),
}
ROUTE = Stepwise("route.py", "Routers: which member answers which prompt, so that only that one is asked.", STEPS)


def route_program(arguments: list[str] | None = None) -> int:
    """scripts/route.py. Returns the exit code."""
    return ROUTE.run(arguments)
