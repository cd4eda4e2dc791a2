"""What a search over several datasets says of each, and of their floors, in lines of text."""

from collections.abc import Iterator, Mapping
from typing import Any

from swarm.maths.interval import Estimate
from swarm.reports.by_column import aligned


def dataset_lines(result: Mapping[str, Any], scorer: str) -> list[str]:
    """The found system's scores on each dataset, and whether it is above the floors; none of a search over one."""
    datasets = result.get("datasets", [])
    if not datasets:
        return []
    lines = [
        "",
        "The score above is the weighted mean of the datasets' (shares of their ranges). The found system on each:",
    ]
    rows: list[tuple[str, ...]] = [("", "weight", "dev", "test", "best single expert, test")]
    for one in datasets:
        found, single = one["scores"]["found"], one["scores"]["best_single"]["test"][scorer]
        cells = [str(Estimate(**found[split][scorer])) for split in ("dev", "test")]
        rows.append((f"  {one['name']} ({one['eval']})", f"{one['weight']:g}", *cells, f"{single['mean']:.3f}"))
    return [*lines, *aligned(rows), *_floors(datasets, scorer)]


def _floors(datasets: list[Mapping[str, Any]], scorer: str) -> Iterator[str]:
    """Of each floor whether the found system, which is the nearest where none is above all, reaches it on dev."""
    floors = [one for one in datasets if one["at_least"] is not None]
    means = {one["name"]: one["scores"]["found"]["dev"][scorer]["mean"] for one in floors}
    below = [one for one in floors if means[one["name"]] < one["at_least"]]
    if below:
        told = " and ".join(f"{one['name']} {means[one['name']]:.3f}, wanted {one['at_least']:g}" for one in below)
        yield f"no system reached every floor on dev; the nearest has {told}: lower --at_least, or search longer"
    elif floors:
        yield f"floors on dev (--at_least) are reached: {', '.join(str(one['name']) for one in floors)}"
