"""`h-swarm plugins`: what can be named in every group, where it is from, and what is broken."""

import json
import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass

from swarm.errors import UserError
from swarm.evolution.command_line import Parser
from swarm.plugins import GROUPS, Group, Plugin, find_plugin, offered, use_plugin_files
from swarm.programs import front_doors

log = logging.getLogger(__name__)

BUILT_IN = "built in"
LATER = "cannot be plugins in this version"


@dataclass(frozen=True)
class Listed:
    """Something that can be named.

    Attributes:
      source: where it is from.
      broken: why it cannot be imported; None if it can.
    """

    name: str
    source: str
    broken: str | None = None


def plugins_parser() -> Parser:
    """The parser of `h-swarm plugins`."""
    parser = Parser(prog="h-swarm plugins", description="Lists what can be named, built in or a plugin's, by group.")
    parser.add_argument("--plugin", metavar="FILE.py[,FILE.py]", help="also what these files register (docs/extend.md)")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    return parser


def plugins_program(arguments: list[str] | None = None) -> int:
    """`h-swarm plugins`. Returns the exit code; raises UserError for a name that is there twice."""
    options = plugins_parser().parse_args(arguments)
    front_doors.log_to(None)
    use_plugin_files(options.plugin)
    own = _own_names()
    found = {group: list_group(group, own.get(group.name, ())) for group in GROUPS.values()}
    if options.json:
        listing = {group.name: [asdict(each) for each in listed] for group, listed in found.items()}
        log.info("%s", json.dumps(listing))
        return front_doors.DONE
    for group, listed in found.items():
        log.info("%s (%s)", group.name, group.asked_for or LATER)
        for each in listed:
            log.info("  %-20s %s%s", each.name, each.source, f"; broken: {each.broken}" if each.broken else "")
    return front_doors.DONE


def list_group(group: Group, own: Collection[str]) -> list[Listed]:
    """Everything of a group, each plugin imported once. Raises UserError for a name that is there twice."""
    plugins = offered(group.name)
    for plugin in plugins:
        find_plugin(group.name, plugin.name, own)
    return [*(Listed(name, BUILT_IN) for name in own), *(_listed(plugin) for plugin in plugins)]


def _listed(plugin: Plugin) -> Listed:
    try:
        plugin.load()
    except UserError as error:
        return Listed(plugin.name, plugin.source, str(error))
    return Listed(plugin.name, plugin.source)


def _own_names() -> dict[str, Collection[str]]:
    """The program's own, by group; imported here, as --help needs none of it."""
    from swarm.data.embedded import QUESTIONS
    from swarm.evals import EVALS
    from swarm.evolution.names import OWN_OPTIMIZERS
    from swarm.members.member_kinds import NODE_TYPES
    from swarm.metrics.table import METRICS
    from swarm.reports.tracking import TRACKERS

    return {
        "evals": EVALS,
        "optimizers": OWN_OPTIMIZERS,
        "members": NODE_TYPES,
        "metrics": METRICS,
        "datasets": (QUESTIONS,),
        "trackers": TRACKERS,
    }
