"""`h-swarm data`: datasets brought, made and looked at."""

from swarm.programs.subcommands import Subcommand, chosen_command

COMMANDS = {
    "get": Subcommand(
        "the published datasets, or sets of the hub that are like them", "programs.data.get_data:get_program"
    ),
    "graph": Subcommand(
        "make a set of graph questions with known answers", "programs.data.make_graph_data:graph_program"
    ),
    "show": Subcommand(
        "how a dataset is read: its splits, fields and first question", "programs.data.show_data:show_program"
    ),
}


def data_program(arguments: list[str] | None = None) -> int:
    """`h-swarm data`. Returns the exit code."""
    return chosen_command("h-swarm data", "Datasets: brought, made, looked at.", COMMANDS, arguments or [])
