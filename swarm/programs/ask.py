"""`h-swarm ask`: a question, many, or a conversation put to a found system."""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from swarm.data.example import Example
from swarm.data.records import check_text, questions
from swarm.data.tables import read_table
from swarm.engines.base import Turn
from swarm.errors import UserError
from swarm.evolution.answer_records import query_record
from swarm.evolution.command_line import given_settings
from swarm.plugins import use_plugin_files
from swarm.programs import front_doors
from swarm.programs.found_system import read_found
from swarm.programs.parsers import ask_parser
from swarm.programs.running_system import RunningSystem
from swarm.reports.kept_answers import kept_query
from swarm.reports.trace_lines import trace_lines
from swarm.system.query_trace import QueryTrace

log = logging.getLogger(__name__)

TABLES = (".jsonl", ".csv", ".parquet")
FORGET = "/new"


def ask_program(arguments: list[str] | None = None) -> int:
    """`h-swarm ask`. Returns the exit code."""
    options = ask_parser().parse_args(arguments)
    front_doors.log_to(None)
    use_plugin_files(options.plugin)
    given = given_settings(options, "ask") | {
        name: getattr(options, name) for name in ("max_new_tokens", "chat") if getattr(options, name) is not None
    }
    asked = list(_questions(options.question, options.file))
    with RunningSystem(read_found(options.run, given, scored=False)) as system:
        if not asked and options.question is None and options.file is None and sys.stdin.isatty():
            return _talk(system, options.trace)
        if not asked:
            raise UserError('there is no question; wanted h-swarm ask RUN "question", --file FILE, or lines on stdin')
        for example, trace in zip(asked, system.answer(asked, trace=True), strict=True):
            for line in _shown(example, trace, options.trace, options.json):
                log.info("%s", line)
    return front_doors.DONE


def _questions(question: str | None, file: Path | None) -> Iterator[Example]:
    """What is to be asked; nothing where a conversation is to begin."""
    if question is not None and file is not None:
        raise UserError("a question and --file are both given; wanted one of them")
    if question not in (None, "-"):
        yield from _lines(str(question))
    elif file is not None:
        yield from _of_file(file)
    elif question == "-" or not sys.stdin.isatty():
        for line in sys.stdin.read().splitlines():
            yield from _lines(line)


def _of_file(file: Path) -> Iterator[Example]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"--file {file} cannot be read ({error.strerror}); name a file of questions") from error
    if file.suffix.lower() in TABLES:
        yield from questions(read_table(file, content))
        return
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            f"--file {file} is no text in UTF-8 ({error}); wanted a question a line, or {', '.join(TABLES)}"
        ) from error
    for line in lines:
        yield from _lines(line)


def _lines(text: str) -> Iterator[Example]:
    if text.strip():
        check_text("the question", text)
        yield Example(text.strip(), "")


def _shown(example: Example, trace: QueryTrace, traced: bool, as_json: bool) -> list[str]:
    if as_json:
        record = {"question": example.question, "answer": trace.text}
        known = {"id": example.id} if example.id else {}
        return [json.dumps(known | record | ({"trace": query_record(trace)} if traced else {}))]
    return [*(trace_lines(kept_query(query_record(trace))) if traced else ()), trace.text]


def _talk(system: RunningSystem, traced: bool) -> int:
    """A conversation: every question after those before it, where the base's chat template has them."""
    told = system.tells_history()
    log.info("%s", system)
    how = "earlier turns are told" if told else "every question stands alone: there is no chat template with a history"
    log.info("%s; %s begins anew, Ctrl-D ends", how, FORGET)
    history: list[Turn] = []
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            log.info("")
            return front_doors.DONE
        if text == FORGET:
            history = []
            continue
        if text:
            answer = _reply(system, text, history, traced)
            history += [(text, answer)] if told and answer is not None else []


def _reply(system: RunningSystem, text: str, history: Sequence[Turn], traced: bool) -> str | None:
    """The answer, which is shown; None where there is none."""
    try:
        check_text("the question", text)
        [trace] = system.answer([text], trace=True, history=history)
    except UserError as error:  # too long, say: the next question may be shorter
        log.warning("%s", error)
        return None
    for line in _shown(Example(text, ""), trace, traced, False):
        log.info("%s", line)
    return trace.text
