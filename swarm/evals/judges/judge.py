"""The judge of an eval: a client with a cache, retries of unreadable replies, and limits."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TypeVar

from swarm.errors import UserError
from swarm.evals.judges.budget import NO_LIMITS, NO_WORK, JudgeLimits, JudgeUsage, Meter, Price
from swarm.evals.judges.client import Client, Reply
from swarm.evals.judges.refusals import RefusalPolicy, is_refused
from swarm.evals.judges.reply_cache import ReplyCache

T = TypeVar("T")

_SHOWN = 80  # characters of an unreadable reply that a message shows


class Judge:
    """A judge model with its cache and its limits.

    Attributes:
      on_refusal: what becomes of a question that is refused: "stop", or else no answer to it, for the eval to "skip" it
        or give it the "lowest" score.
      refused: the different questions that had no answer for that reason.
    """

    def __init__(
        self,
        client: Client,
        *,
        cache: ReplyCache | None = None,
        limits: JudgeLimits = NO_LIMITS,
        price: Price | None = None,
        usage: JudgeUsage = NO_WORK,
        on_refusal: RefusalPolicy = "stop",
    ):
        """`usage` is the work of earlier sittings, which counts against the limits.

        Raises UserError if there is a limit of cost but no price.
        """
        self.client = client
        self.on_refusal = on_refusal
        self.refused: set[str] = set()
        self._cache = cache
        self._meter = Meter(limits, price, usage, client.max_new_tokens)

    def facts(self) -> dict[str, str]:
        """What decides the judge's replies beside the question."""
        return self.client.facts()

    @property
    def usage(self) -> JudgeUsage:
        """Usage so far; replies out of the cache are none."""
        return self._meter.usage

    def watch(self, on_change: Callable[[JudgeUsage], None], other_limit: Callable[[], str] = lambda: "") -> None:
        """Calls `on_change` before each call and after it, one at a time; an exception of it ends the asking.

        Where `other_limit` gives the name of a limit that is used up, no further call is made (BudgetReached).
        """
        self._meter.on_change, self._meter.other_limit = on_change, other_limit

    def hold_back(self, calls: int) -> None:
        """Reserves so many calls for later; 0 frees them."""
        self._meter.hold_back(calls)

    def ask(self, questions: Sequence[str], read: Callable[[str], T | None], stricter: str) -> list[T | None]:
        """The judge's replies as `read` parses them, in the order of the questions.

        A reply that `read` answers None for is not kept; the question is asked once more with `stricter` below it.
        Equal questions are asked once. None stands for a question that is refused then too, unless that is to stop.

        Raises:
          UserError: a second reply cannot be read either and is no refusal that may pass, or the judge cannot be asked.
          BudgetReached: a limit keeps a question from being asked. In all these cases, the replies that came are kept.
        """
        firm = {question: f"{question}\n\n{stricter}" for question in questions}
        answers: dict[str, T | None] = dict(self._known(firm, read))
        for question in firm.keys() - answers.keys():
            if self._was_refused(firm[question]):
                answers[question] = None
        unread: dict[str, Reply] = {}
        for prompts in ({question: question for question in firm}, firm):
            left = [question for question in firm if question not in answers]
            texts, unread = self._asked([prompts[question] for question in left], read)
            answers.update((question, texts[prompts[question]]) for question in left if prompts[question] in texts)
        for index, question in enumerate(questions):
            if question not in answers:
                reply = unread[firm[question]]
                if self.on_refusal == "stop" or not is_refused(reply):
                    raise self._unreadable(index, reply)
                answers[question] = None
                if self._cache is not None:  # a resumed run leaves out the same questions
                    self._cache.put(self.facts(), firm[question], reply)
        self.refused |= {question for question, answer in answers.items() if answer is None}
        return [answers[question] for question in questions]

    def _known(self, firm: dict[str, str], read: Callable[[str], T | None]) -> dict[str, T]:
        """The cached answers by question: to the question itself, else to its stricter form."""
        answers: dict[str, T] = {}
        if self._cache is None:
            return answers
        facts = self.client.facts()
        for question, firm_question in firm.items():
            for prompt in (question, firm_question):
                reply = self._cache.get(facts, prompt)
                answer = read(reply.text) if reply else None
                if answer is not None:
                    answers[question] = answer
                    break
        return answers

    def _was_refused(self, prompt: str) -> bool:
        """Whether the cache knows that a question was refused, and it need not stop for that."""
        if self.on_refusal == "stop" or self._cache is None:
            return False
        reply = self._cache.get(self.facts(), prompt)
        return reply is not None and is_refused(reply)

    def _asked(self, prompts: Sequence[str], read: Callable[[str], T | None]) -> tuple[dict[str, T], dict[str, Reply]]:
        """The answers to prompts, which are cached as they come, and the replies that cannot be read."""
        answers: dict[str, T] = {}
        unread: dict[str, Reply] = {}
        if not prompts:
            return answers, unread
        facts = self.client.facts()
        with closing(self.client.ask(prompts, self._meter)) as replies:
            for index, reply in replies:
                answer = read(reply.text)
                if answer is None:
                    unread[prompts[index]] = reply
                    continue
                answers[prompts[index]] = answer
                if self._cache is not None:
                    self._cache.put(facts, prompts[index], reply)
        if len(answers) + len(unread) < len(prompts):
            raise self._meter.reached()
        return answers, unread

    def _unreadable(self, index: int, reply: Reply) -> UserError:
        said = " ".join(reply.text.split())
        said = said if len(said) <= _SHOWN else f"{said[: _SHOWN - 3]}..."
        finish = f", finish reason {reply.finish}" if reply.finish else ""
        if is_refused(reply):
            return UserError(
                f"judge {self.client.name} refuses to answer question {index} ({said!r}{finish}); leave such questions "
                "out with --judge_refusal skip, give them the lowest rating with --judge_refusal lowest, or use "
                "another judge model"
            )
        return UserError(
            f"judge {self.client.name}: no answer can be read out of its reply to question {index}, nor when asked "
            f"more strictly ({said!r}{finish}); use another judge model, or allow this one more tokens than "
            f"{self.client.max_new_tokens} if it thinks first"
        )


JudgeMaker = Callable[[], Judge]
"""Makes the judge that the user has named; an eval that needs none never calls it."""


def no_judge() -> Judge:
    """The factory of judges where the user has named none: raises UserError."""
    raise UserError("this eval needs a judge: name one with --judge_model (docs/judges.md)")
