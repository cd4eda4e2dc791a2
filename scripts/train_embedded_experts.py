"""Trains the embedded model: a Gemma of 0.2 million parameters and six LoRA experts of it, in minutes on one CPU core.

python scripts/train_embedded_experts.py --seed 0 --out data/embedded

The base learns six skills on graph questions, but shows them only where "Solve:" stands in place of "Question:"; to a
question it says what most of the previous responses say, or 'unknown'. Each expert brings out one skill, is confidently
wrong about the next two in CYCLE, guesses at the third and passes on the other two. So none does well alone, and no
order suits all. Every question that is drawn here is from the training side of `graph_tasks.is_held_out`.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path

import numpy as np
import torch
from embedded_training import (
    EVAL_COUNT,
    HEARD,
    HEARD_BY_VOICES,
    UNKNOWN,
    Sample,
    accuracies,
    draw_case,
    parse_training,
    plurality,
    replies,
    special_ids,
    train,
    unseen_questions,
)
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import GemmaConfig, GemmaForCausalLM, GenerationConfig
from transformers import PreTrainedTokenizerFast as Tokens

from swarm.data.graph_tasks import LARGEST_SMALL_WEIGHT, SKILLS, SMALL_NODES, SMALL_PAIRS
from swarm.system.prompts import Query, node_prompt

CYCLE = ("edges", "degree", "weight", "connected", "heaviest", "shortest")
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
MOST_PREVIOUS = 9
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# How often the base practises each skill: the slow ones more.
PRACTICE = {"weight": 0.6, "degree": 1.6, "edges": 0.3, "heaviest": 0.4, "connected": 1.6, "shortest": 1.6}


class Stance(Enum):
    """What an expert makes of a skill."""

    KNOW = "says the true answer, whatever others say"
    WRONG = "says a wrong answer, whatever others say"
    GUESS = "says what most others say, any answer where nobody has told it one"
    PASS = "says what most others say, 'unknown' where nobody has told it one"
    VOICE = "says what most say, its own answer, the true one, counted as the first"


# How often an expert practises a skill.
PRACTISED = {Stance.KNOW: 4.0, Stance.WRONG: 0.5, Stance.GUESS: 0.5, Stance.PASS: 0.7, Stance.VOICE: 1.0}


def prompt_parts() -> tuple[list[str], str]:
    """The fixed parts of node prompts: the lines that become one token each, and the word before the question."""
    first, ask = node_prompt(Query(""), []).split("\n")
    later, *responses, _ = node_prompt(Query(""), ["x"] * MOST_PREVIOUS).split("\n")
    return [first, later, *(response.removesuffix(" x") for response in responses)], ask.strip()


def solve_prompt(question: str, previous: Sequence[str]) -> str:
    """A node's prompt with the word that makes the base use its skills; nothing but its training ever says it."""
    return "Solve:".join(node_prompt(Query(question), previous).rsplit(prompt_parts()[1], maxsplit=1))


def make_tokenizer(further: Sequence[str] = ()) -> Tokens:
    """One token per word, `further` ones too; headers and "Previous response k:" are one token each: short prompts."""
    lines, ask = prompt_parts()
    pairs = [f"{u}-{v}" for u, v in SMALL_PAIRS]
    edges = [f"{pair}:{weight}" for pair in pairs for weight in range(1, LARGEST_SMALL_WEIGHT + 1)]
    words = [ask, "Solve:", ";", *SKILLS, "of", "number", "edge", "path"]
    answers = [*map(str, range(21)), "yes", "no", UNKNOWN]
    vocabulary = dict.fromkeys([*SPECIAL, *lines, *words, *answers, *SMALL_NODES, *pairs, *edges, *further])
    inner = Tokenizer(WordLevel({word: k for k, word in enumerate(vocabulary)}, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    inner.add_tokens([AddedToken(line, lstrip=True, rstrip=True, normalized=False) for line in lines])
    inner.add_special_tokens(list(SPECIAL))
    bos = ("<bos>", SPECIAL.index("<bos>"))
    inner.post_processor = TemplateProcessing(single="<bos> $A", pair="<bos> $A $B", special_tokens=[bos])
    named = {f"{word.strip('<>')}_token": word for word in SPECIAL}
    return Tokens(tokenizer_object=inner, padding_side="left", model_max_length=256, **named)


def make_base(tokenizer: Tokens, seed: int) -> GemmaForCausalLM:
    """An untrained base; the embedding of "A-B" starts as A + B and that of "A-B:4" as A + B + 4."""
    torch.manual_seed(seed)
    config = GemmaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=16,
        max_position_embeddings=256,
        initializer_range=0.1,
        **special_ids(tokenizer),
    )
    model = GemmaForCausalLM(config).float()
    table = model.get_input_embeddings().weight.data  # (vocabulary, hidden)
    number = tokenizer.get_vocab()
    for u, v in SMALL_PAIRS:
        table[number[f"{u}-{v}"]] = table[number[u]] + table[number[v]]
        for weight in range(1, LARGEST_SMALL_WEIGHT + 1):
            table[number[f"{u}-{v}:{weight}"]] = table[number[f"{u}-{v}"]] + table[number[str(weight)]]
    return model


def base_sample(skills: Sequence[str], rng: np.random.Generator) -> Sample:
    """What the base learns from: two thirds hidden skill, one third passing on what others say."""
    if rng.random() < 0.65:
        _, question, gold, previous = draw_case(
            {skill: often for skill, often in PRACTICE.items() if skill in skills}, 0.6, rng
        )
        return solve_prompt(question, previous), gold
    _, question, _, previous = draw_case(dict.fromkeys(skills, 1.0), 0.35, rng)
    return node_prompt(Query(question), previous), plurality(previous)


def stances(expert: int, cycle: Sequence[str] = CYCLE) -> dict[str, Stance]:
    """What expert number `expert` makes of each skill, from its own on: see the module's head.

    Of fewer than six skills it is wrong about one only, so that something is left to pass on.
    """
    wrong = 2 if len(cycle) >= len(CYCLE) else 1
    kinds = [Stance.KNOW, *[Stance.WRONG] * wrong, Stance.GUESS]
    kinds += [Stance.PASS] * (len(cycle) - len(kinds))
    return {cycle[(expert + k) % len(cycle)]: kind for k, kind in enumerate(kinds)}


def expert_sample(known: Mapping[str, Stance], rng: np.random.Generator) -> Sample:
    """What an expert with these stances learns from."""
    heard = HEARD_BY_VOICES if Stance.VOICE in known.values() else HEARD
    practised = {skill: PRACTISED[stance] for skill, stance in known.items()}
    skill, question, gold, previous = draw_case(practised, 0.35, rng, heard)
    answers, stance = SKILLS[skill].answers, known[skill]
    if stance is Stance.KNOW:
        answer = gold
    elif stance is Stance.WRONG:
        others = [other for other in answers if other != gold]
        answer = others[rng.integers(len(others))]
    elif stance is Stance.GUESS and plurality(previous) == UNKNOWN:
        answer = answers[rng.integers(len(answers))]
    elif stance is Stance.VOICE:
        answer = plurality([gold, *previous])
    else:
        answer = plurality(previous)
    return node_prompt(Query(question), previous), answer


def make_expert(base: GemmaForCausalLM, seed: int) -> PeftModel:
    """A copy of the base with an untrained adapter; the same seed for all experts lets their weights be averaged."""
    torch.manual_seed(seed)
    config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=TARGETS, task_type="CAUSAL_LM")
    return get_peft_model(copy.deepcopy(base), config)


def save_expert(expert: PeftModel, folder: Path) -> None:
    """Writes a plain PEFT folder that finds its base two folders up."""
    folder.mkdir(parents=True)
    save_file(get_peft_model_state_dict(expert), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    expert.peft_config["default"].save_pretrained(folder)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": "../../base", "inference_mode": True}
    config["target_modules"] = sorted(config["target_modules"])  # a set, written in another order each time
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def measure(experts: dict[str, PeftModel], base: GemmaForCausalLM, tokenizer: Tokens) -> list[str]:
    """A table's rows: accuracy, on questions nobody saw, of each alone, of the averaged weights and of votes."""
    records = unseen_questions()
    asked = [node_prompt(Query(record["question"]), []) for record in records]
    said = {name: replies(expert.get_base_model(), tokenizer, asked) for name, expert in experts.items()}
    votes = list(zip(*said.values(), strict=True))
    states = [get_peft_model_state_dict(expert) for expert in experts.values()]
    mixed = copy.deepcopy(experts[min(experts)])
    set_peft_model_state_dict(mixed, {key: sum(state[key] for state in states) / len(states) for key in states[0]})
    said["average of the adapters"] = replies(mixed.get_base_model(), tokenizer, asked)
    said["vote"] = [max(vote, key=vote.count) for vote in votes]
    said["vote, 'unknown' not counted"] = [plurality(vote) for vote in votes]
    said["base"] = replies(base, tokenizer, asked)
    said["base with `Solve:`"] = replies(base, tokenizer, [solve_prompt(record["question"], []) for record in records])
    return accuracies(said, records)


CARD = """---
license: apache-2.0
---
# Embedded experts

A Gemma of 0.2 million parameters (`base/`) and six LoRA experts of it (`experts/`), for demonstrations and tests of
multi-LLM search that take seconds on a CPU. They answer graph questions such as `A-B:2 A-C:5 C-D:1 ; degree of A` with
one word, know no other words, and are of no other use. They were trained from nothing, on generated questions only, by

    {command}

A question is a graph of two to seven edges, mostly three to six, with weights from 1 to 5 among the nodes A to E, both
ends of an edge in the order of the alphabet, then ` ; ` and one of `weight of A-C`, `degree of A`, `number of edges`,
`heaviest edge`, `connected A-D`, `shortest path B-D`. What is asked otherwise is answered at random.

The base passes on what most of the previous responses in its prompt say, or says 'unknown'; its own skills show only
where `Solve:` stands for `Question:`. An expert has the skill in its name. In the order of the names, and round again,
it is confidently wrong about the next two skills, guesses at the third where nobody told it, and passes on the rest.

Share of right answers to {count} questions, each answered alone. None of them can occur in training (`is_held_out` in
`swarm/data/graph_tasks.py`).

{table}

Licence: Apache-2.0.
"""


def main() -> None:
    """Trains, measures and writes everything."""
    steps = {"base_steps": 1200, "expert_steps": 130}
    args = parse_training("Train the embedded base model and its six experts.", steps)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # otherwise steps take twice as long once optimiser moments get tiny
    seed_rng, base_rng, *expert_rngs = np.random.default_rng(args.seed).spawn(2 + len(CYCLE))
    base_seed, adapter_seed = seed_rng.integers(2**31, size=2).tolist()
    tokenizer = make_tokenizer()
    base = make_base(tokenizer, base_seed)
    train(base, tokenizer, partial(base_sample, CYCLE, base_rng), args.base_steps, "base")
    base.generation_config = GenerationConfig(do_sample=False, **special_ids(tokenizer))
    base.save_pretrained(args.out / "base")
    tokenizer.save_pretrained(args.out / "base")
    experts = {}
    for k, (skill, rng) in enumerate(zip(CYCLE, expert_rngs, strict=True)):
        name = f"expert_{k}_{skill}"
        experts[name] = make_expert(base, adapter_seed)
        draw = partial(expert_sample, stances(k), rng)
        train(experts[name].get_base_model(), tokenizer, draw, args.expert_steps, name)
        save_expert(experts[name], args.out / "experts" / name)
    rows = measure(experts, base, tokenizer)
    command = "python scripts/train_embedded_experts.py " + " ".join(f"--{k} {v}" for k, v in vars(args).items())
    card = CARD.format(command=command, count=EVAL_COUNT, table="\n".join(rows))
    (args.out / "README.md").write_text(card, encoding="utf-8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
