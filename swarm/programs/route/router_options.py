"""The options of fitting a router."""

import argparse
import math

from swarm.errors import UserError
from swarm.members.routing.classifiers import CLASSIFIERS, classifier_settings
from swarm.members.routing.features import FEATURES, feature_settings
from swarm.members.routing.fit import RouterSettings
from swarm.values import kind_and_options, pairs_of


def add_router_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a router."""
    group = parser.add_argument_group("router")
    group.add_argument("--classifier", default="knn", metavar="KIND[:NAME=VALUE,...]",
                       help=f"{', '.join(CLASSIFIERS)} (default: knn)")  # fmt: skip
    group.add_argument("--features", default="tfidf", metavar="KIND[:NAME=VALUE,...]",
                       help=f"how prompts become numbers: {', '.join(FEATURES)} (default: tfidf)")  # fmt: skip
    group.add_argument("--label_temperature", type=float, help="of soft labels, in the scores' unit (default: the "
                       "best members share a prompt)")  # fmt: skip
    group.add_argument("--tolerance", type=float, default=0.0, help="how far below the best score a member still "
                       "counts as tied with it (default: 0)")  # fmt: skip
    group.add_argument("--cost_weight", type=float, default=0.0,
                       help="quality that one unit of --costs must bring (default: 0)")  # fmt: skip
    group.add_argument("--costs", metavar="NAME=COST,...", help="what asking each member costs, in any unit")
    group.add_argument("--no_fallback", action="store_true", help="never ask the best single member for want of "
                       "confidence")  # fmt: skip
    group.add_argument("--seed", type=int, default=0, help="of folds and fitting (default: 0)")


def router_settings(options: argparse.Namespace, names: tuple[str, ...] | list[str]) -> RouterSettings:
    """The settings for these members. Raises UserError for a kind, option or number that cannot be."""
    costs = costs_of(options.costs, names)
    for name in ("tolerance", "label_temperature", "cost_weight"):
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UserError(f"--{name} is {value:g}; wanted a number of at least 0")
    if options.cost_weight and not costs:
        raise UserError(f"--cost_weight is {options.cost_weight:g} but no costs are given; add --costs NAME=COST,...")
    if options.label_temperature == 0:
        raise UserError("--label_temperature is 0; wanted more, or none, which lets the best members share a prompt")
    features = feature_settings(*kind_and_options("--features", options.features))
    classifier = classifier_settings(*kind_and_options("--classifier", options.classifier))
    for chosen in (features, classifier):
        if hasattr(chosen, "check_library"):
            chosen.check_library()
    return RouterSettings(
        features=features,
        classifier=classifier,
        label_temperature=options.label_temperature,
        tolerance=options.tolerance,
        costs=costs,
        cost_weight=options.cost_weight,
        fall_back=not options.no_fallback,
    )


def costs_of(text: str | None, names: tuple[str, ...] | list[str]) -> tuple[float, ...]:
    """Every member's cost, in their order; none where none are given. Raises UserError unless all have one."""
    if text is None:
        return ()
    try:
        pairs = [(name, float(value)) for name, value in pairs_of("--costs", text)]
    except ValueError:
        pairs = []
    given = dict(pairs)
    if sorted(name for name, _ in pairs) != sorted(names) or not all(map(math.isfinite, given.values())):
        raise UserError(f"--costs is {text!r}; wanted a number for each of {', '.join(names)}, as NAME=COST,NAME=COST")
    return tuple(given[name] for name in names)
