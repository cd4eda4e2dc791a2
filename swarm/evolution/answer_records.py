"""The answers of a final evaluation as records: what every node was asked and answered, and what it scored.

One record for each question (`answers.jsonl`, docs/answers.md). A node's prompt is in it only where the user's own
instructions made it; of the published wording the query and the nodes that it was told by (`from`) make it again.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from swarm.data.example import Example
from swarm.evals.eval import Eval, Judgement
from swarm.evolution.fitness import Judged
from swarm.system.instructions import PUBLISHED_WORDING
from swarm.system.prompts import written
from swarm.system.query_trace import MemberAnswer, QueryTrace

log = logging.getLogger(__name__)

FOUND = "found"
_encode = json.JSONEncoder(allow_nan=False).encode


def answer_records(
    split: str, examples: Sequence[Example], judged: Mapping[str, Judged], evaluation: Eval
) -> Iterator[dict[str, Any]]:
    """The records of a split, in its order.

    Args:
      judged: who -> scores and traces; the system's own, FOUND, are kept whole, of the others their answers.
    """
    if not evaluation.in_order or not all(each.in_order(len(examples)) for each in judged.values()):
        log.warning(
            "no answers are kept for %s: eval %s does not ask about all examples in their order in every pass", split,
            evaluation.name,
        )  # fmt: skip
        return
    skipped = np.any([np.isnan(scores) for each in judged.values() for scores in each.judgement.values()], axis=0)
    for index, example in enumerate(examples):
        if skipped[index]:
            continue  # without a score there is nothing to compare
        yield {
            "split": split,
            "index": index,
            **_about(example),
            "asked": list(_asked(judged[FOUND].passes, index, example, len(examples), evaluation)),
            "scores": {who: _scores(each.judgement, index) for who, each in judged.items()},
            "others": {who: each.passes[0][index].text for who, each in judged.items() if who != FOUND},
        }


def as_lines(records: Iterable[Mapping[str, Any]]) -> str:
    """The records as JSON, one a line."""
    return "".join(f"{_encode(record)}\n" for record in records)


def _about(example: Example) -> dict[str, Any]:
    given = {"id": example.id, "domain": example.domain, "choices": dict(example.choices), "columns": example.columns}
    known = {name: value for name, value in given.items() if value}
    return known | {"question": example.question, "gold": " | ".join(example.golds)}


def _scores(judgement: Judgement, index: int) -> dict[str, float]:
    return {scorer: float(scores[index]) for scorer, scores in judgement.items()}


def _asked(
    passes: Sequence[Sequence[QueryTrace]], index: int, example: Example, size: int, evaluation: Eval
) -> Iterator[dict[str, Any]]:
    """What the system was asked about an example: in every pass once, or several times over."""
    for number, traces in enumerate(passes):
        for trace in traces[index::size]:
            yield query_record(trace, number, lambda text: evaluation.readable(text, example))


def query_record(
    trace: QueryTrace, number: int = 0, readable: Callable[[str], bool] = lambda text: True
) -> dict[str, Any]:
    """What a system was asked once, and what its nodes answered; `number` is the pass of the eval."""
    query = trace.query
    context = {"context": list(query.chunks)} if query.chunks else {}
    nodes = [_node(trace, node, readable) for node in trace.system.order]
    return {"pass": number, "text": query.text, **context, "nodes": nodes}


def _node(trace: QueryTrace, node: int, readable: Callable[[str], bool]) -> dict[str, Any]:
    answer = trace.answers[node]
    read = bool(answer.text) and readable(answer.text)
    record = {"node": node, "from": trace.system.predecessors(node), **_member(answer), "readable": read}
    return record if trace.system.wording == PUBLISHED_WORDING else record | {"prompt": trace.prompt(node)}


def _member(answer: MemberAnswer) -> dict[str, Any]:
    record: dict[str, Any] = {
        "member": answer.member,
        "answer": answer.text,
        "tokens": answer.new_tokens,
        "most": answer.most,
        "cut": answer.cut,
    }
    if (lines := written(answer.text)) != answer.text:
        record["written"] = lines
    if answer.prompt is not None:
        record["prompt"] = answer.prompt
    if answer.asked:
        record["asked"] = [_member(part) for part in answer.asked]
    return record
