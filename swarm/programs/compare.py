"""`h-swarm compare`: whether runs differ, on the same questions and in which settings."""

import json
import logging

from swarm.errors import UserError
from swarm.programs import front_doors
from swarm.programs.parsers import compare_parser
from swarm.reports.comparison import compared, comparison_lines
from swarm.reports.finished_run import finished_run

log = logging.getLogger(__name__)


def compare_program(arguments: list[str] | None = None) -> int:
    """`h-swarm compare`. Returns the exit code."""
    options = compare_parser().parse_args(arguments)
    front_doors.log_to(None)
    if len({run.resolve() for run in options.runs}) < max(len(options.runs), 2):
        raise UserError("wanted two runs or more, each once: h-swarm compare search/one search/two")
    found = compared([finished_run(run) for run in options.runs], options.split, options.common)
    for line in [json.dumps(found.record())] if options.json else comparison_lines(found, options.split):
        log.info("%s", line)
    return front_doors.DONE
