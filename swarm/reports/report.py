"""The found system as text: its graph, its scores, its model card."""

from collections.abc import Collection, Mapping
from typing import Any

from swarm.evolution.config import SearchConfig
from swarm.maths.interval import Estimate
from swarm.members.composite import label
from swarm.reports.by_column import aligned
from swarm.system.system import System


def graph_as_text(system: System) -> list[str]:
    """The graph as text from its end down to its sources, a line per node, predecessors indented below."""
    lines: list[str] = []
    shown: set[int] = set()

    def show(node: int, lead: str, branch: str) -> None:
        again = " (see above)" if node in shown and system.predecessors(node) else ""
        answers = "  <- the answer" if node == system.end else ""
        lines.append(
            f"{lead}{branch}role {node}: {label(system.member_at(node))}{_asked(system, node)}{again}{answers}"
        )
        if node in shown:
            return
        shown.add(node)
        sources = system.predecessors(node)
        below = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        for source in sources:
            show(source, below, "└─ " if source == sources[-1] else "├─ ")

    show(system.end, "", "")
    return lines


def _asked(system: System, node: int) -> str:
    """By which instruction a node is asked, where the user gives several."""
    return f", asked as {system.wording.at(node).name}" if system.wording.nodes else ""


def graph_as_mermaid(system: System) -> str:
    """The graph as a Mermaid diagram, which many viewers of Markdown draw."""
    nodes = [f'  {node}["role {node}: {label(system.member_at(node))}"]' for node in sorted(system.graph)]
    edges = [f"  {u} --> {v}" for u, v in sorted(system.graph.edges)]
    return "\n".join(["graph LR", *nodes, *edges])


def model_card(system: System, scores: dict[str, Any], config: SearchConfig) -> str:
    """The model card of a found system, as Markdown."""
    members = sorted({label(system.member_at(node)) for node in system.graph})
    lines = [
        "# A multi-LLM system found by h-swarm",
        "",
        f"Found on `{config.dataset}` by the eval `{config.eval_type}`, seed {config.seed}; the run's args.json has",
        "all settings. `h-swarm evaluate FOLDER` scores it again, `swarm.system.system.System.load` loads it.",
        "An arrow tells an answer.",
        "",
        "```mermaid",
        graph_as_mermaid(system),
        "```",
        "",
        f"Its members ({', '.join(members)}) are in `experts/`: plain PEFT adapters, or whole models where the initial",
        "experts were, and the node.json of composites. Base model and licences are those of the originals. Scores",
        "with 95 % intervals; the system was chosen by its dev score, so dev flatters it:",
        "",
        "```",
        *score_table(scores, config.scorer),
        "```",
    ]
    return "\n".join(lines) + "\n"


def score_table(scores: dict[str, Any], scorer: str) -> list[str]:
    """The final scores as lines: who, dev and test with interval, by the scorer that was maximised and the other."""
    names = {
        "found": "found system",
        "best_single": f"best single expert ({scores['best_single']['name']})",
        "uniform_average": "uniform average of the experts",
    }
    if "best_composite" in scores:
        names["best_composite"] = f"best composite alone ({scores['best_composite']['name']})"
    width = max(map(len, names.values())) + 2
    lines = []
    kinds = sorted(scores["found"]["test"], key=lambda name: name != scorer)
    for which in kinds:
        lines.append(f"{score_title(which, kinds):<{width}}{'dev':<30}test")
        for who, title in names.items():
            cells = "".join(f"{Estimate(**scores[who][split][which])!s:<30}" for split in ("dev", "test"))
            lines.append(f"{title:<{width}}{cells}".rstrip())
    return lines


def estimate_lines(datasets: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """The scores of each dataset, dataset -> scorer -> estimate, a line each."""
    rows = [
        (f"  {name}", scorer, str(Estimate(**own)))
        for name, scores in datasets.items()
        for scorer, own in sorted(scores.items(), key=lambda item: item[0] != "strict")
    ]
    return aligned(rows)


def score_title(scorer: str, scorers: Collection[str]) -> str:
    """The heading of a score, whose scorer it names where an eval has several."""
    return f"{scorer} score" if len(scorers) > 1 else "score"
