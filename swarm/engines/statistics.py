"""Statistics of engines: work beside answering, and the work of each worker over time."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

LARGEST = ("dropped",)  # of these numbers the largest counts, of all others the sum


@dataclass(frozen=True)
class Tally:
    """Work of engines beside answering: tokens of decoders, choices of routers, and the like.

    Attributes:
      halvings: how often a batch did not fit into memory.
      counts, routed, blended: what fusions, routers and blends have done, by name, as JSON-able records.
    """

    halvings: int = 0
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    routed: dict[str, dict[str, Any]] = field(default_factory=dict)
    blended: dict[str, dict[str, Any]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The fields of result.json."""
        return {"fusions": self.counts, "routers": self.routed, "blends": self.blended}


def tally_of(engine: Any) -> Tally:
    """The tally of an engine; an empty one for an engine that does not count."""
    records = (
        {name: asdict(count) for name, count in getattr(engine, kind, {}).items()}
        for kind in ("counts", "routed", "blended")
    )
    return Tally(getattr(engine, "halvings", 0), *records)


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of several engines' tallies."""
    done = Tally()
    for each in tallies:
        done = Tally(
            done.halvings + each.halvings,
            _added(done.counts, each.counts),
            _added(done.routed, each.routed),
            _added(done.blended, each.blended),
        )
    return done


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Records added up key by key; of texts the first is kept."""
    found = dict(one)
    for name, value in other.items():
        if name not in found:
            found[name] = value
        elif isinstance(value, Mapping):
            found[name] = _added(found[name], value)
        elif isinstance(value, (int, float)):
            found[name] = max(found[name], value) if name in LARGEST else found[name] + value
    return found


@dataclass(frozen=True)
class Work:
    """The work of one of several workers in a span of time.

    Attributes:
      location: machine, device and process of the worker.
      requests, tokens: that it answered; tokens read and written.
      seconds, busy: of the span, and of those at work.
      memory: bytes that it held at most so far.
      losses: why it was lost, each time.
    """

    location: str
    requests: int = 0
    tokens: int = 0
    seconds: float = 0.0
    busy: float = 0.0
    memory: int = 0
    losses: tuple[str, ...] = ()

    @property
    def idle_share(self) -> float:
        """The share of the span in which the worker was idle."""
        return max(1 - self.busy / self.seconds, 0.0) if self.seconds > 0 else 0.0

    @property
    def speed(self) -> float:
        """Tokens per second of work; 0 before the first."""
        return self.tokens / self.busy if self.busy > 0 else 0.0

    def since(self, before: "Work") -> "Work":
        """The work done since an earlier state of the same worker."""
        return replace(
            self,
            requests=self.requests - before.requests,
            tokens=self.tokens - before.tokens,
            seconds=self.seconds - before.seconds,
            busy=self.busy - before.busy,
            losses=self.losses[len(before.losses) :],
        )

    def record(self) -> dict[str, Any]:
        """The fields of metrics.jsonl and result.json."""
        return {
            "place": self.location,
            "requests": self.requests,
            "requests_per_second": round(self.requests / self.busy, 3) if self.busy > 0 else 0.0,
            "tokens_per_second": round(self.speed, 1),
            "idle_share": round(self.idle_share, 4),
            "memory_bytes": self.memory,
            "losses": list(self.losses),
        }


def load_summary(work: Iterable[Work]) -> str:
    """A summary of several workers' load: "2 workers 93, 88 % busy, 1,205 tokens/s"; "" for none."""
    work = list(work)
    if not work:
        return ""
    shares = [f"{100 * (1 - each.idle_share):.0f}" for each in work]
    if len(work) > 8:
        ordered = sorted(shares, key=int)
        shares = [f"{ordered[0]} to {ordered[-1]}"]
    seconds = max(each.seconds for each in work)
    speed = sum(each.tokens for each in work) / seconds if seconds > 0 else 0.0
    lost = sum(len(each.losses) for each in work)
    return f"{len(work)} workers {', '.join(shares)} % busy, {speed:,.0f} tokens/s" + (f", {lost} lost" if lost else "")
