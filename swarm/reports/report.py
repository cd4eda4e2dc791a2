"""The found system as text, and pictures of its graph and of both swarms' curves."""

from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import Any

import networkx as nx

from swarm.errors import UserError
from swarm.evolution.config import SearchConfig
from swarm.evolution.state import SearchState
from swarm.maths.interval import Estimate
from swarm.members.composite import label
from swarm.storage.files import write_whole
from swarm.system.system import System


def graph_as_text(system: System) -> list[str]:
    """The graph as text from its end down to its sources, a line per node, predecessors indented below."""
    lines: list[str] = []
    shown: set[int] = set()

    def show(node: int, lead: str, branch: str) -> None:
        again = " (see above)" if node in shown and system.predecessors(node) else ""
        answers = "  <- the answer" if node == system.end else ""
        lines.append(f"{lead}{branch}role {node}: {label(system.member_at(node))}{again}{answers}")
        if node in shown:
            return
        shown.add(node)
        sources = system.predecessors(node)
        below = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        for source in sources:
            show(source, below, "└─ " if source == sources[-1] else "├─ ")

    show(system.end, "", "")
    return lines


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


def draw_graph(system: System, path: Path) -> None:
    """Draws the graph: roles, experts, and arrows along the edges. Needs matplotlib."""
    plt = pyplot()
    # columns by distance from the end, so that every arrow points to the right
    columns = list(nx.topological_generations(system.graph.reverse(copy=True)))
    positions = nx.multipartite_layout(system.graph, subset_key={-i: nodes for i, nodes in enumerate(columns)})
    levels = len(columns)
    figure, axes = plt.subplots(figsize=(2.6 * levels + 1, 0.9 * len(system.graph) + 1))
    boxes = {
        node: axes.text(
            x,
            y,
            f"role {node}\n{label(system.member_at(node))}",
            ha="center",
            va="center",
            fontsize=9,
            parse_math=False,  # a folder's name may hold dollar signs
            zorder=2,
            bbox={
                "boxstyle": "round,pad=0.5",
                "facecolor": "#ffd27f" if node == system.end else "#cfe3f7",
                "edgecolor": "#333333",
            },
        )
        for node, (x, y) in positions.items()
    }
    figure.canvas.draw()  # gives the boxes their sizes, at whose rims the arrows end
    for source, target in system.graph.edges:
        ends = {"patchA": boxes[source].get_bbox_patch(), "patchB": boxes[target].get_bbox_patch()}
        axes.annotate(
            "", positions[target], positions[source], arrowprops={"arrowstyle": "-|>", "color": "#555555", **ends}
        )
    axes.update_datalim(list(positions.values()))
    axes.set_title("the found system: an arrow tells an answer; the last role speaks for all")
    axes.margins(0.25)
    axes.axis("off")
    save_picture(figure, path, 130)


def draw_curves(state: SearchState, path: Path) -> None:
    """Draws both swarms' utilities over the iterations, with the best so far. Needs matplotlib."""
    assert state.graphs is not None and state.experts is not None
    plt = pyplot()
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    for panel, swarm, name in zip(panels, (state.graphs, state.experts), ("graphs", "experts (JFK)"), strict=True):
        for history in swarm.histories:
            panel.plot(history, color="#9db8d2", linewidth=1)
        panel.plot(swarm.best_history, color="#1f4e79", linewidth=2, label="swarm's best")
        panel.plot(state.best_history, color="#c55a11", linewidth=2, label="best system")
        panel.axhline(max(state.singles), color="#777777", linestyle="--", label="best single expert")
        panel.set_xlabel("iteration")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set_title(name)
    panels[0].set_ylabel("utility on dev")
    panels[0].legend()
    save_picture(figure, path, 130)


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


def score_title(scorer: str, scorers: Collection[str]) -> str:
    """The heading of a score, whose scorer it names where an eval has several."""
    return f"{scorer} score" if len(scorers) > 1 else "score"


def pyplot() -> Any:
    """matplotlib's pyplot, drawing into files; ImportError where it is not installed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def needed_pyplot() -> Any:
    """`pyplot`, or a UserError where matplotlib is not installed."""
    try:
        return pyplot()
    except ImportError as error:
        raise UserError("a picture needs matplotlib, which is not installed: pip install matplotlib") from error


def save_picture(figure: Any, path: Path, dots: int) -> None:
    """Saves a figure with tight margins and closes it. Raises UserError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = BytesIO()
        figure.savefig(drawn, format=path.suffix.removeprefix(".") or "png", dpi=dots, bbox_inches="tight")
        write_whole(path, drawn.getvalue(), flush=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be written ({error}); name another file, such as picture.png") from error
    finally:
        pyplot().close(figure)
