"""What a search by candidates keeps beside its state: candidates.jsonl, and asked.bin with the keys of all requests.

Both are appended to before the state is written that counts them; what a kill has left beyond it is dropped later.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.evolution.candidate import Scored
from swarm.evolution.ledger import KEY, Ledger
from swarm.evolution.rounds import Rounds
from swarm.evolution.state import SearchState
from swarm.storage.files import check_own_file, open_own, read_bytes, read_text, write_whole

CANDIDATES, ASKED = "candidates.jsonl", "asked.bin"


def candidate_row(number: int, step: int, one: Scored) -> dict[str, Any]:
    """A line of candidates.jsonl: the candidate, what it was made of and by, and what came of it."""
    answered = [score for score in one.scores if not math.isnan(score)]
    return {
        "candidate": number,
        "round": step,
        "key": one.candidate.key,
        "parents": list(one.proposal.parents),
        "change": list(one.proposal.change),
        "utility": one.utility,
        "answered": len(answered),
        "mean": sum(answered) / len(answered) if answered else None,
        "calls": one.calls,
        **one.candidate.record(),
    }


def append_round(folder: Path, before: SearchState, state: SearchState, last: Sequence[Scored], ledger: Ledger) -> None:
    """Appends the candidates of the last step, and the keys of the requests that it was charged."""
    rows = [candidate_row(before.tried + i, before.iteration, one) for i, one in enumerate(last)]
    with open_own(folder / CANDIDATES, "a") as file:
        file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
    with open_own(folder / ASKED, "ab") as file:
        file.write(ledger.keys_from(before.charged[0]))


def restore(folder: Path, state: SearchState, rounds: Rounds) -> None:
    """Brings the ledger and the candidates that were seen to where the state is, and drops what is beyond it.

    Raises UserError where a file has less than the state counts.
    """
    for name in (CANDIDATES, ASKED):
        check_own_file(folder / name)
    path = folder / CANDIDATES
    lines = read_text(path).splitlines()[: state.tried] if path.exists() else []
    try:
        rows = [json.loads(line) for line in lines]
        rounds.seen = {str(row["key"]): row["utility"] for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it from a copy") from error
    count, calls, tokens = state.charged
    path = folder / ASKED
    content = read_bytes(path)[: count * KEY] if path.exists() else b""
    if len(rows) < state.tried or len(content) < count * KEY:
        raise UserError(f"{folder} has lost lines of {CANDIDATES} or keys of {ASKED}: restore them from a copy")
    ledger = rounds.ledger
    ledger.keys = dict.fromkeys(content[at : at + KEY] for at in range(0, len(content), KEY))
    ledger.calls, ledger.tokens = calls, tokens
    write_whole(folder / CANDIDATES, "".join(f"{line}\n" for line in lines))
    write_whole(folder / ASKED, content)
