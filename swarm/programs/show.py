"""`h-swarm show`: what a run has found and changed, and what its system answered to a question."""

import logging
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from swarm.errors import UserError
from swarm.evolution.answer_records import FOUND
from swarm.evolution.run_folder import RESULT
from swarm.programs import front_doors
from swarm.programs.parsers import show_parser
from swarm.reports.by_column import aligned, by_column, columns_of
from swarm.reports.changes import gain_lines, mixture_in_words
from swarm.reports.datasets import dataset_lines
from swarm.reports.finished_run import FinishedRun, finished_run, read_as_written
from swarm.reports.kept_answers import KeptAnswer, answers_path, read_answers
from swarm.reports.report import score_table
from swarm.reports.trace_lines import trace_lines

log = logging.getLogger(__name__)

LONGEST = 60  # characters of a question or an answer in a list
BEST_SINGLE = "best_single"


def show_program(arguments: list[str] | None = None) -> int:
    """`h-swarm show`. Returns the exit code."""
    options = show_parser().parse_args(arguments)
    front_doors.log_to(None)
    if options.limit < 1:
        raise UserError(f"--limit is {options.limit}; wanted at least 1")
    run = finished_run(options.run)
    with read_as_written(run.folder / RESULT):
        lines = _lines(run, options)
    for line in lines:
        log.info("%s", line)
    return front_doors.DONE


def _lines(run: FinishedRun, options: Namespace) -> list[str]:
    if options.question is not None:
        return _question(run, options)
    if options.only:
        return _listed(run, options)
    if options.by:
        return by_column(read_answers(run.folder, options.split), options.by, run.scorer, run.range, BEST_SINGLE)
    return _summary(run, options.split)


def _summary(run: FinishedRun, split: str) -> list[str]:
    args, result = run.args, run.result
    lines = [f"{run.name}: {run.eval} on {run.dataset}, seed {args.get('seed')}; {run.state}", "", "the found system:"]
    lines += [f"  {line}" for line in result["graph"]]
    lines += ["", *score_table(result["scores"], run.scorer), *dataset_lines(result, run.scorer)]
    return [*lines, *_moved(result), *_changed(result), *_replies(result, split), *_gain(result), *_domains(run, split)]


def _moved(result: Mapping[str, Any]) -> list[str]:
    if "moved" not in result:
        return ["", "what each expert is made of was not kept: an earlier version has run this"]
    if not any(row["distance"] for row in result["moved"]):
        return ["", "no expert has moved in the found system: each is as it was at the start"]
    title = "what each expert is made of, in parts of the pool's (most moved first):"
    return ["", title, *(f"  {mixture_in_words(row)}" for row in result["moved"])]


def _changed(result: Mapping[str, Any]) -> list[str]:
    changes = result.get("changes")
    if changes is None:
        return ["", "the first best system was not kept: an earlier version has run this, or a limit came before it"]
    title = f"from the best system after the start ({result['first_score']:.3f} on dev) to the found one:"
    return ["", title, *(f"  {line}" for line in changes or ["nothing in the graph"])]


def _replies(result: Mapping[str, Any], split: str) -> list[str]:
    rows = result.get("replies", {}).get(split)
    if not rows:
        return []
    names = ("answers", "cut", "empty", "unreadable")
    cells: list[tuple[str, ...]] = [("", *names)]
    cells += [(f"role {row['node']}: {row['member']}", *(str(row[name]) for name in names)) for row in rows]
    return ["", f"its answers on {split}:", *(f"  {line}" for line in aligned(cells))]


def _gain(result: Mapping[str, Any]) -> list[str]:
    if not result.get("gain"):
        return []
    return ["", "on dev, by which the system was chosen:", *(f"  {line}" for line in gain_lines(result["gain"]))]


def _domains(run: FinishedRun, split: str) -> list[str]:
    if not answers_path(run.folder).is_file():
        return ["", "no answers were kept, so single questions cannot be shown"]
    answers = read_answers(run.folder, split)
    columns = columns_of(answers)
    lines = []
    if "domain" in columns:
        lines = ["", f"by domain, on {split}:"]
        lines += [f"  {line}" for line in by_column(answers, "domain", run.scorer, run.range, BEST_SINGLE)]
    others = ", ".join(name for name in columns if name != "domain")
    more = f"; --by COLUMN: {others}" if others else ""
    return [*lines, "", f"--question N: who was asked what; --only lost: what the best single expert had right{more}"]


def _listed(run: FinishedRun, options: Namespace) -> list[str]:
    answers = read_answers(run.folder, options.split)
    chosen = [one for one in answers if _is_listed(one, options.only, run)]
    rows: list[tuple[str, ...]] = [("question", "gold", "answered", "best single", "")]
    for one in chosen[: options.limit]:
        texts = (one.gold, one.answer, one.others.get(BEST_SINGLE, ""), one.question)
        rows.append((str(one.index), *map(_short, texts)))
    more = f", the first {options.limit} of them (--limit)" if len(chosen) > options.limit else ""
    return [f"{len(chosen)} of {len(answers)} questions of {options.split}{more}", *aligned(rows)]


def _is_listed(answer: KeptAnswer, only: str, run: FinishedRun) -> bool:
    """Whether an answer is one of those that are asked for."""
    ours, single = (answer.score(who, run.scorer) for who in (FOUND, BEST_SINGLE))
    nodes = answer.asked[0].nodes
    return {
        "wrong": ours < run.range[1],
        "lost": ours < single,
        "won": ours > single,
        "cut": any(node.cut for node in nodes),
        "empty": not all(node.answer for node in nodes),
        "unreadable": not nodes[-1].readable,
    }[only]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _question(run: FinishedRun, options: Namespace) -> list[str]:
    answers = read_answers(run.folder, options.split)
    by_index = [one for one in answers if str(one.index) == options.question]
    found = next(iter([*by_index, *(one for one in answers if one.id == options.question)]), None)
    if found is None:
        raise UserError(
            f"--question {options.question}: {options.split} has the questions 0 to {len(answers) - 1}, and none with "
            "such an id"
        )
    about = ", ".join(f"{name} {found.column(name)}" for name in ("id", "domain", *found.columns) if found.column(name))
    lines = [f"{options.split} question {found.index}{f' ({about})' if about else ''}", f"gold: {found.gold}"]
    for query in found.asked:
        lines += ["", f"asked{f' in pass {query.number + 1}' if len(found.asked) > 1 else ''}: {query.text}"]
        lines += trace_lines(query)
    scores = {who: ", ".join(f"{name} {value:g}" for name, value in own.items()) for who, own in found.scores.items()}
    lines += ["", f"found system: {found.answer!r} ({scores.pop(FOUND)})"]
    return lines + [f"{who.replace('_', ' ')}: {found.others.get(who, '')!r} ({own})" for who, own in scores.items()]
