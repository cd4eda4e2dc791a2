"""Makes prompts with stored answers and scores in MixInstruct's format, for replays of a router without any generation:

python scripts/make_routing_data.py --val 200 --test 100 --seed 0 --out data/routing

The four models are made up. Each is strong at one kind of prompt; BLEU and ROUGE are computed from the texts, and
bertscore, bartscore and the comparisons are drawn around how good the answer was made to be.
"""

import argparse
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from swarm.errors import UserError
from swarm.metrics.table import get_metric
from swarm.storage.files import write_whole

COMPUTED = ("bleu", "rouge1", "rouge2", "rougeL", "rougeLsum")
UNCOMPARED = 0.05  # share of test rows without comparisons, as MixInstruct has some


@dataclass(frozen=True)
class Question:
    """A request, with a right answer and a wrong one."""

    prompt: str
    right: str
    wrong: str


def pick(rng: np.random.Generator, words: str) -> str:
    """One of the words."""
    return str(rng.choice(words.split()))


def arithmetic(rng: np.random.Generator) -> Question:
    """A sum, a difference or a product."""
    first, second = (int(number) for number in rng.integers(2, 90, 2))
    ask, sign, value = [
        (f"Add {first} and {second}.", "+", first + second),
        (f"What is {first} minus {second}?", "-", first - second),
        (f"Multiply {first} by {second}.", "*", first * second),
    ][int(rng.integers(3))]
    slip = int(rng.choice([-10, -2, -1, 1, 2, 10]))
    return Question(ask, f"{first} {sign} {second} = {value}.", f"{first} {sign} {second} = {value + slip}.")


CAPITALS = dict(
    pair.split("=")
    for pair in (
        "France=Paris Spain=Madrid Italy=Rome Japan=Tokyo Kenya=Nairobi Peru=Lima Chile=Santiago Norway=Oslo "
        "Egypt=Cairo Cuba=Havana Ghana=Accra India=Delhi Iran=Tehran Iraq=Baghdad Latvia=Riga Libya=Tripoli "
        "Mali=Bamako Nepal=Kathmandu Poland=Warsaw Qatar=Doha Russia=Moscow Sudan=Khartoum Turkey=Ankara "
        "Uganda=Kampala Greece=Athens Austria=Vienna Belgium=Brussels Canada=Ottawa Denmark=Copenhagen "
        "Finland=Helsinki Germany=Berlin Hungary=Budapest Ireland=Dublin"
    ).split()
)


def geography(rng: np.random.Generator) -> Question:
    """The capital of a country."""
    country, other = (str(name) for name in rng.choice(list(CAPITALS), 2, replace=False))
    ask = ["What is the capital of {}?", "Name the capital city of {}.", "Which city is the seat of government in {}?"]
    prompt = ask[int(rng.integers(3))].format(country)
    return Question(prompt, f"The capital of {country} is {CAPITALS[country]}.",
                    f"The capital of {country} is {CAPITALS[other]}.")  # fmt: skip


def rewriting(rng: np.random.Generator) -> Question:
    """A sentence to be put into another form."""
    who, what = pick(rng, "Anna Ben Clara David Emma Frank Grace Henry"), pick(rng, "letter book song report poem menu")
    verb, past = str(rng.choice(["write wrote", "read read", "find found", "bring brought", "send sent"])).split()
    when = pick(rng, "today again quickly gladly")
    plain = f"{who} {verb}s the {what} {when}."
    ask, right = [
        (f"Rewrite in the past tense: {plain}", f"{who} {past} the {what} {when}."),
        (f"Turn this sentence into a question: {plain}", f"Does {who} {verb} the {what} {when}?"),
        (f"Rewrite in the negative: {plain}", f"{who} does not {verb} the {what} {when}."),
    ][int(rng.integers(3))]
    return Question(ask, right, plain)


TIPS = {
    "sleep better": "Go to bed at the same hour every night and keep screens out of the bedroom.",
    "save money": "Write down what you spend for a month and cut the largest thing you do not need.",
    "learn a language": "Speak for ten minutes every day, even if you make many mistakes.",
    "grow tomatoes": "Give the plants six hours of sun and water the soil, not the leaves.",
    "prepare for an interview": "Practise answering three common questions aloud with a friend.",
    "remember names": "Repeat the name aloud when you hear it and link it to a picture.",
    "cook rice": "Rinse the rice first and let it rest covered for ten minutes at the end.",
    "write clearly": "Use short sentences and cut every word that does no work.",
}


def advice(rng: np.random.Generator) -> Question:
    """A tip for something."""
    aim, other = (str(name) for name in rng.choice(list(TIPS), 2, replace=False))
    who = pick(rng, "student parent beginner neighbour colleague friend")
    ask = ["Give a {who} one tip on how to {aim}.", "How can a {who} {aim}? Answer in one sentence."]
    return Question(ask[int(rng.integers(2))].format(who=who, aim=aim), TIPS[aim], TIPS[other])


KINDS: dict[str, Callable[[np.random.Generator], Question]] = {
    "arithmetic": arithmetic, "geography": geography, "rewriting": rewriting, "advice": advice,
}  # fmt: skip
# model -> how often it is right at each kind of prompt
MODELS = {
    "abacus": {"arithmetic": 0.92, "geography": 0.35, "rewriting": 0.40, "advice": 0.30},
    "atlas": {"arithmetic": 0.30, "geography": 0.92, "rewriting": 0.35, "advice": 0.45},
    "scribe": {"arithmetic": 0.25, "geography": 0.40, "rewriting": 0.92, "advice": 0.50},
    "chatter": {"arithmetic": 0.55, "geography": 0.60, "rewriting": 0.55, "advice": 0.85},
}
WORDY = "chatter"  # says more than it was asked, which a judge likes and BLEU does not
OPENINGS = ("Sure!", "Good question.", "Happy to help.")
CLOSINGS = ("Let me know if you need more.", "I hope that helps.", "Feel free to ask again.")


def answer(model: str, kind: str, question: Question, rng: np.random.Generator) -> tuple[str, float]:
    """A model's text, and how good a judge finds it, 0 to about 1."""
    right = rng.random() < MODELS[model][kind]
    text = question.right if right else question.wrong
    merit = 0.85 if right else 0.15
    if not right and rng.random() < 0.2:
        text, merit = "I am not sure.", 0.05
    if model == WORDY:
        text = f"{OPENINGS[int(rng.integers(3))]} {text} {CLOSINGS[int(rng.integers(3))]}"
        merit += 0.1
    return text, merit


def comparisons(merits: dict[str, float], rng: np.random.Generator) -> str:
    """What a judge says about every pair, as the JSON text that a row holds."""
    said = {}
    for pair in combinations(merits, 2):
        first, second = pair if rng.random() < 0.5 else pair[::-1]
        lead = merits[first] - merits[second] + rng.normal(0, 0.08)
        same = "Same good" if merits[first] + merits[second] > 1 else "Same bad"
        said[f"{first},{second}"] = same if abs(lead) < 0.08 else "A is better" if lead > 0 else "B is better"
    return json.dumps(said)


def rows(split: str, questions: list[tuple[str, Question]], rng: np.random.Generator) -> list[dict[str, Any]]:
    """The rows of one split; those of test have comparisons."""
    answers = [
        (question, {model: answer(model, kind, question, rng) for model in MODELS}) for kind, question in questions
    ]
    texts = [text for _, own in answers for text, _ in own.values()]
    references = [question.right for question, own in answers for _ in own]
    scored = {name: iter(get_metric(name).score(texts, references)) for name in COMPUTED}
    made = []
    for index, (question, own) in enumerate(answers):
        candidates = []
        for model, (text, merit) in own.items():
            scores = {name: next(values) for name, values in scored.items()}
            scores["bertscore"] = min(1.0, 0.55 + 0.15 * merit + 0.25 * scores["rougeL"] + rng.normal(0, 0.02))
            scores["bartscore"] = -5 + 1.2 * merit + 1.5 * scores["rougeL"] + rng.normal(0, 0.3)
            kept = {name: round(float(value), 4) for name, value in scores.items()}
            candidates.append({"decoding_method": "made_up", "model": model, "text": text, "scores": kept})
        row = {"id": f"made_up/{split}/{index}", "instruction": "", "input": question.prompt, "output": question.right,
               "candidates": candidates}  # fmt: skip
        if split == "test":
            merits = {model: merit for model, (_, merit) in own.items()}
            row["cmp_results"] = None if rng.random() < UNCOMPARED else comparisons(merits, rng)
        made.append(row)
    return made


def questions(count: int, rng: np.random.Generator) -> list[tuple[str, Question]]:
    """`count` questions of all kinds, no two with the same prompt."""
    found: dict[str, tuple[str, Question]] = {}
    for attempt in range(50 * count):
        if len(found) == count:
            break
        kind = list(KINDS)[attempt % len(KINDS)]
        question = KINDS[kind](rng)
        found.setdefault(question.prompt, (kind, question))
    if len(found) < count:
        raise UserError(f"no {count} different prompts can be made; ask for fewer rows")
    return list(found.values())


def make(val: int, test: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Name of the file -> its rows; no prompt stands in both."""
    rng = np.random.default_rng(seed)
    asked = questions(val + test, rng)
    order = rng.permutation(len(asked))
    shuffled = [asked[index] for index in order]
    return {"validation.jsonl": rows("val", shuffled[:val], rng), "test.jsonl": rows("test", shuffled[val:], rng)}


def main() -> None:
    """Makes the files, writes them and says how to make them again."""
    parser = argparse.ArgumentParser(description="Make a small data set in MixInstruct's format, with made-up models.")
    parser.add_argument("--val", type=int, default=200, help="rows to learn from")
    parser.add_argument("--test", type=int, default=100, help="rows with comparisons, for the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    args = parser.parse_args()
    if min(args.val, args.test) < 1:
        parser.error(f"there is at least one row in each file, but got --val {args.val} --test {args.test}")
    try:
        files = make(args.val, args.test, args.seed)
        args.out.mkdir(parents=True, exist_ok=True)
        for name, made in files.items():
            write_whole(args.out / name, "".join(json.dumps(row) + "\n" for row in made))
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
    words = ["python", "scripts/make_routing_data.py"]
    words += [word for name, value in vars(args).items() for word in (f"--{name}", str(value))]
    print(f"{args.out}: {args.val} val, {args.test} test. Make it again with\n{shlex.join(words)}")


if __name__ == "__main__":
    main()
