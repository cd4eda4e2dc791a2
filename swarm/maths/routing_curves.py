"""Quality-cost curves of routers: AIQ, and between a weak and a strong member APGR and CPT."""

import numpy as np


def quality_hull(costs: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the non-decreasing convex hull of (cost, quality), from the cheapest point to the dearest cost.

    What lies on it is had by mixing two routers at random; where a dearer point is no better, the best cheaper one is
    kept (RouterBench, arXiv 2403.12031). Costs and quality are (K,). Raises ValueError for no points, or
    numbers that are not finite.
    """
    costs, quality = np.asarray(costs, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if not len(costs) or costs.shape != quality.shape or not np.isfinite([costs, quality]).all():
        raise ValueError(f"a hull needs points with finite costs and quality, got {costs.shape} and {quality.shape}")
    hull: list[tuple[float, float]] = []
    for point in sorted(zip(costs.tolist(), quality.tolist(), strict=True), key=lambda each: (each[0], -each[1])):
        if hull and point[1] <= hull[-1][1]:
            continue  # no cheaper and no better
        while len(hull) >= 2 and not _turns_right(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    if hull[-1][0] < costs.max():
        hull.append((float(costs.max()), hull[-1][1]))
    return np.array([cost for cost, _ in hull]), np.array([value for _, value in hull])


def aiq(costs: np.ndarray, quality: np.ndarray, cost_range: tuple[float, float] | None = None) -> float:
    """Average improvement in quality: the area under `quality_hull` divided by the cost range (AIQ,
    RouterBench, arXiv 2403.12031).

    It is the mean quality over the range of costs, by default that of the points themselves. Of routers that are to be
    compared all get the same range; beyond its dearest point a hull goes on level. Where all costs are equal it is the
    best quality. Raises ValueError as `quality_hull`, and for a range that begins below the cheapest point.
    """
    across, up = quality_hull(costs, quality)
    low, high = (float(across[0]), float(across[-1])) if cost_range is None else cost_range
    if low < across[0] or high < low:
        raise ValueError(f"costs begin at {across[0]:g}; nothing is known of a range from {low:g} to {high:g}")
    if high == low:
        return float(np.interp(low, across, up))
    inside = np.unique(np.concatenate([[low, high], across[(across > low) & (across < high)]]))
    return float(np.trapezoid(np.interp(inside, across, up), inside) / (high - low))


def gap_curve(preference: np.ndarray, weak: np.ndarray, strong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of prompts that the strong member is asked, and the performance gap recovered, from none to all.

    PGR = (quality - weak) / (strong - weak) (RouteLLM, arXiv 2406.18665). Prompts go to the strong member in
    the order of falling preference (P,); those of equal preference are sent in a random order, whose expectation is
    the straight line between the two points that are given. `weak` and `strong` (P,) are the members' scores.

    Raises ValueError for no prompts, or where the strong member is not better in the mean.
    """
    preference, weak, strong = (np.asarray(each, dtype=np.float64) for each in (preference, weak, strong))
    if not len(preference) or not preference.shape == weak.shape == strong.shape:
        raise ValueError(f"a gap needs equally many numbers, got {preference.shape}, {weak.shape} and {strong.shape}")
    gain = strong - weak
    if not gain.sum() > 0:
        raise ValueError(f"the strong member has no lead over the weak one ({gain.mean():g}), so there is no gap")
    ends, order = _tie_ends(preference)
    recovered = np.cumsum(gain[order])[ends - 1] / gain.sum()
    return np.append(0.0, ends / len(order)), np.append(0.0, recovered)


def apgr(preference: np.ndarray, weak: np.ndarray, strong: np.ndarray) -> float:
    """Average performance gap recovered: the area under `gap_curve` (RouteLLM,
    arXiv 2406.18665); 0.5 is a random router's.

    The area is exact, not a sum over ten shares. Raises ValueError as `gap_curve`.
    """
    calls, recovered = gap_curve(preference, weak, strong)
    return float(np.trapezoid(recovered, calls))


def calls_for_gap(preference: np.ndarray, weak: np.ndarray, strong: np.ndarray, share: float) -> float:
    """CPT(x): the least share of prompts for the strong member that recovers `share` of the gap (arXiv 2406.18665).

    Raises ValueError as `gap_curve`, and for a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of the gap is between 0 and 1, got {share:g}")
    calls, recovered = gap_curve(preference, weak, strong)
    recovered[-1] = 1.0  # all prompts recover all of it, whatever the rounding of the sums
    first = int(np.argmax(recovered >= share))
    if first == 0:
        return 0.0
    before, after = recovered[first - 1], recovered[first]
    between = calls[first - 1] + (calls[first] - calls[first - 1]) * (share - before) / (after - before)
    return float(min(between, calls[first]))  # rounding may lead beyond it


def _turns_right(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    """Whether the middle point lies strictly above the line from the first to the last."""
    return (middle[0] - first[0]) * (last[1] - first[1]) < (middle[1] - first[1]) * (last[0] - first[0])


def _tie_ends(confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of prompts down to each distinct value, the highest first, and the prompts in that order."""
    order = np.argsort(-confidence, kind="stable")
    falls = np.flatnonzero(np.diff(confidence[order]) != 0)
    return np.append(falls + 1, len(confidence)), order
