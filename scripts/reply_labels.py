#!/usr/bin/env python3
"""Replies of real small models, labelled by two readers, and the scorers beside them.

    python scripts/reply_labels.py                                  # the scorers against the labels, by kind of error
    python scripts/reply_labels.py --make MODEL -d gsm8k --count 90 # new replies to be labelled, as lines of JSON

tests/text/labelled_replies.jsonl has 400: of SmolLM2-135M-Instruct (with its chat template) and Gemma 3 270M (base),
greedy, on questions drawn from the test splits of gsm8k, mmlu and nlgraph (whose questions are left away). Each reader
was to say which answer a reply gives, right or wrong, or none, without seeing right answers, other labels or scorers.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from swarm.data.example import Example
from swarm.evals.exact_match import ExactMatch
from swarm.evals.multiple_choice import MultipleChoice
from swarm.system.prompts import tidy_answer

REPLIES = Path(__file__).resolve().parent.parent / "tests/text/labelled_replies.jsonl"


def labelled_replies() -> list[dict[str, Any]]:
    """The rows of the file."""
    return [json.loads(line) for line in REPLIES.read_text(encoding="utf8").splitlines()]


def plain(label: str | None) -> str | None:
    """A label in one form: numbers without trailing zeros, letters and words in lower case."""
    try:
        return None if label is None else str(Decimal(label.replace(",", "")).normalize())
    except InvalidOperation:
        return str(label).lower()


def read_answer(row: dict[str, Any]) -> str | None:
    """The answer that the scorers read in a row's reply."""
    example = Example(row.get("question", ""), row["gold"], choices=row.get("choices", {}))
    scorer = MultipleChoice() if example.choices else ExactMatch()
    return plain(scorer.ballot(tidy_answer(row["reply"]), example))


def kind_of_error(label: str | None, read: str | None, gold: str | None) -> str:
    """How a scorer differs from a label, and whether that changes the score; "" where it does not differ."""
    if read == label:
        return ""
    what = "read where there is none" if label is None else "not read" if read is None else "another read"
    return f"{what}, {'which changes the score' if (read == gold) != (label == gold) else 'the score is the same'}"


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The scorers against the labels on which both readers agree, in lines."""
    agreed = [row for row in rows if plain(row["labels"][0]) == plain(row["labels"][1])]
    lines = [f"{len(rows)} replies, both readers agree on {len(agreed)}"]
    for data in dict.fromkeys(row["data"] for row in rows):
        own = [row for row in agreed if row["data"] == data]
        errors = Counter(kind_of_error(plain(row["labels"][0]), read_answer(row), plain(row["gold"])) for row in own)
        lines.append(f"{data}: as labelled {errors.pop('', 0)} of {len(own)}")
        lines += [f"    {count} {kind}" for kind, count in errors.most_common()]
    return lines


def make(model: str, dataset: str, count: int, tokens: int, chat: bool) -> None:
    """Writes new rows without labels to standard output."""
    from swarm.data.load import load_dataset
    from swarm.data.source import Source
    from swarm.engines.base import GenerationParams, Request
    from swarm.evals.exact_match import exact_match_prompt
    from swarm.evals.multiple_choice import multiple_choice_prompt
    from swarm.evolution.config import SearchConfig
    from swarm.programs.engine_choice import make_engine
    from swarm.weights.pool import model_pool

    data = load_dataset(Source(dataset))
    drawn = np.random.default_rng(0).choice(len(data.test), size=count, replace=False)
    examples = [data.test[index] for index in drawn]
    ask = multiple_choice_prompt if examples[0].choices else exact_match_prompt
    pool = model_pool(model)
    params = GenerationParams(tokens, chat)
    requests = [Request(pool.experts()[0], ask(data, example), params) for example in examples]
    for finished in make_engine(pool, SearchConfig()).generate(requests):
        for index, completion in finished:
            example = examples[index]
            row = {"model": Path(model).name, "data": dataset, "id": example.id, "question": example.question}
            row |= {"choices": dict(example.choices), "gold": example.answer, "reply": completion.text}
            print(json.dumps(row | {"cut": completion.was_cut(params), "labels": []}, ensure_ascii=False), flush=True)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--make", metavar="MODEL", help="folder or hub id of a model that is to answer")
    parser.add_argument("-d", "--dataset", default="gsm8k", help="in data/eval")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--no-chat", action="store_true", help="without the chat template")
    options = parser.parse_args()
    if options.make:
        make(options.make, options.dataset, options.count, options.tokens, not options.no_chat)
    else:
        print("\n".join(table(labelled_replies())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
