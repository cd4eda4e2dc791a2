"""Trains the second embedded model, a Llama of 0.2 million parameters with byte-level BPE, in minutes on one CPU core.

python scripts/train_embedded_second.py --seed 0 --out data/embedded/second

It is of another family than the embedded experts and splits their words otherwise (" C-D", ":4"), so that a fusion can
be tried on any machine. It has the skills in SKILLED. Asked for another it says what most of the previous responses
say; where nobody knows it says 'unknown' and is half sure of that, so that in a fusion those who know prevail. Every
question that is drawn here is from the training side of `graph_tasks.is_held_out`.
"""

from functools import partial

import numpy as np
import torch
from embedded_training import (
    EVAL_COUNT,
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
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from train_embedded_experts import prompt_parts
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast as Tokens

from swarm.data.graph_tasks import LARGEST_SMALL_WEIGHT, SKILLS, SMALL_NODES, SMALL_PAIRS
from swarm.system.prompts import Query, node_prompt

SKILLED = ("degree", "connected")
SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>")
DOUBT = 0.5  # how often it learns to guess instead of 'unknown'
# within these pairs of bytes are merged: " C-D", ":4", " path", the end of a line
WORD = r" ?[^\s:]+|:\d*|\s"


def single_words() -> list[str]:
    """The texts that become one token each: words with the blank before them, and weights."""
    words = [*map(str, range(21)), "yes", "no", UNKNOWN, ";", *SKILLS, "of", "number", "edge", "path", *SMALL_NODES]
    words += [f"{u}-{v}" for u, v in SMALL_PAIRS]
    return [*(f" {word}" for word in words), *(f":{weight}" for weight in range(1, LARGEST_SMALL_WEIGHT + 1))]


def make_tokenizer() -> Tokens:
    """Byte-level BPE: `single_words` and the fixed lines of prompts are one token each, and it can read any text."""
    inner = Tokenizer(BPE())
    inner.pre_tokenizer = Sequence([Split(Regex(WORD), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = ByteLevelDecoder()
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=1000, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(single_words(), trainer)
    lines, ask = prompt_parts()
    # each takes the end of the line before it along, but not the blank behind it, which belongs to the next word
    inner.add_tokens([AddedToken(line, lstrip=True, normalized=False) for line in [*lines, ask]])
    begin = SPECIAL[1]
    inner.post_processor = TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, SPECIAL.index(begin))])
    named = dict(zip(("pad_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    return Tokens(tokenizer_object=inner, padding_side="left", model_max_length=256, **named)


def make_model(tokenizer: Tokens, seed: int) -> LlamaForCausalLM:
    """An untrained model; the embedding of " C-D" starts as " C" + " D", that of ":4" as that of " 4"."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        initializer_range=0.1,
        tie_word_embeddings=True,
        **special_ids(tokenizer),
    )
    model = LlamaForCausalLM(config).float()
    table = model.get_input_embeddings().weight.data  # (vocabulary, hidden)
    number = {word: tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in single_words()}
    for u, v in SMALL_PAIRS:
        table[number[f" {u}-{v}"]] = table[number[f" {u}"]] + table[number[f" {v}"]]
    for weight in range(1, LARGEST_SMALL_WEIGHT + 1):
        table[number[f":{weight}"]] = table[number[f" {weight}"]]
    return model


def sample(rng: np.random.Generator) -> Sample:
    """What it learns from: see the module's head."""
    practice = dict.fromkeys(SKILLS, 0.3) | dict.fromkeys(SKILLED, 2.0)
    skill, question, gold, previous = draw_case(practice, 0.5, rng)
    answer = gold if skill in SKILLED else plurality(previous)
    if answer == UNKNOWN and rng.random() < DOUBT:
        answer = SKILLS[skill].answers[rng.integers(len(SKILLS[skill].answers))]
    return node_prompt(Query(question), previous), answer


CARD = """---
license: apache-2.0
---
# The second embedded model

A Llama of {parameters:.1f} million parameters with a byte-level BPE tokenizer, beside the embedded experts: another
family and another vocabulary, for fusions (`../composites/fusion`). It was trained from nothing, on generated questions
only, by

    {command}

It has the skills {skills}. Asked for another it says what most of the previous responses say; where
nobody knows it says 'unknown' and is half sure of that, so that in a fusion those who know prevail.

Share of right answers to {count} questions, each answered alone. None of them can occur in training (`is_held_out` in
`swarm/data/graph_tasks.py`).

{table}

Licence: Apache-2.0.
"""


def main() -> None:
    """Trains, measures and writes everything."""
    args = parse_training("Train the second embedded model, of another family than the experts.", {"steps": 1500})
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # otherwise steps take twice as long once optimiser moments get tiny
    seed_rng, data_rng = np.random.default_rng(args.seed).spawn(2)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, int(seed_rng.integers(2**31)))
    train(model, tokenizer, partial(sample, data_rng), args.steps, "second")
    model.generation_config = GenerationConfig(do_sample=False, **special_ids(tokenizer))
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    records = unseen_questions()
    said = replies(model, tokenizer, [node_prompt(Query(record["question"]), []) for record in records])
    rows = accuracies({"alone": said}, records)
    facts = {
        "command": "python scripts/train_embedded_second.py " + " ".join(f"--{k} {v}" for k, v in vars(args).items()),
        "count": EVAL_COUNT,
        "parameters": model.num_parameters() / 1e6,
        "skills": " and ".join(SKILLED),
        "table": "\n".join(rows),
    }
    (args.out / "README.md").write_text(CARD.format(**facts), encoding="utf-8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
