"""The published procedure, restated plainly: what our engine is measured against and must agree with.

Graphs one after the other, the nodes of each one after the other, base model and adapter loaded from disk for every
node, prompts in batches of ten in the given order, nothing shared; a move of an expert is a chain of merges from file
to file. Only what a node is told is ours (swarm.system.prompts), so that both ways ask the same.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm.engines.base import GenerationParams
from swarm.system.prompts import Query, node_prompt, tidy_answer

BATCH = 10
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Placed:
    """A graph and the adapter's folder at each of its nodes."""

    graph: nx.DiGraph
    folders: tuple[Path, ...]


def answers(base: str, placed: Placed, queries: Sequence[Query], params: GenerationParams) -> list[str]:
    """What the end of one graph says to every query."""
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    said: dict[int, list[str]] = {}
    order = scan_order(placed.graph)
    for position, node in enumerate(order):
        earlier = sorted(placed.graph.predecessors(node))
        prompts = [
            node_prompt(query, [said[source][index] for source in earlier], position, len(order))
            for index, query in enumerate(queries)
        ]
        model = load_expert(base, placed.folders[node])
        said[node] = [tidy_answer(text) for text in generated(model, tokenizer, prompts, params)]
        del model
    return said[order[-1]]


def scan_order(graph: nx.DiGraph) -> list[int]:
    """Nodes after all that they listen to: ascending scans, each taking every node whose predecessors are taken."""
    order: list[int] = []
    while len(order) < len(graph):
        for node in sorted(graph):
            if node not in order and all(source in order for source in graph.predecessors(node)):
                order.append(node)
    return order


def load_expert(base: str, folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
    """The base model with an adapter, both read from disk."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).to(device)
    return PeftModel.from_pretrained(model, folder).eval()


def generated(model: Any, tokenizer: Any, prompts: Sequence[str], params: GenerationParams) -> list[str]:
    """Greedy texts by plain `generate`, ten prompts at a time in the given order."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    chat = params.chat and bool(tokenizer.chat_template)
    texts: list[str] = []
    for start in range(0, len(prompts), BATCH):
        batch = list(prompts[start : start + BATCH])
        if chat:
            talks = [[{"role": "user", "content": prompt}] for prompt in batch]
            batch = [tokenizer.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in talks]
        special = not chat or params.second_bos
        tokens = tokenizer(batch, return_tensors="pt", padding=True, add_special_tokens=special)
        ids, mask = tokens["input_ids"].to(model.device), tokens["attention_mask"].to(model.device)
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=params.max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
        texts += tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
    return texts


@dataclass(frozen=True)
class Move:
    """One move of one expert: the normalised weights of its four terms (inertia first), and the step length."""

    term_weights: tuple[float, float, float, float]
    step_length: float


def move_expert(folder: Path, global_best: Path, global_worst: Path, move: Move) -> None:
    """Moves the expert in `folder`/now, which has a velocity and a personal_best beside it: 12 loads, 5 saves."""
    now, velocity = folder / "now", folder / "velocity"
    inertia, cognitive, social, repel = move.term_weights
    merge(folder / "p_x", [(folder / "personal_best", 1.0), (now, -1.0)])
    merge(folder / "g_x", [(global_best, 1.0), (now, -1.0)])
    merge(folder / "x_w", [(now, 1.0), (global_worst, -1.0)])
    terms = [(velocity, inertia), (folder / "p_x", cognitive), (folder / "g_x", social)]
    merge(velocity, [*terms, (folder / "x_w", repel)])
    merge(now, [(now, 1.0), (velocity, move.step_length)])


def merge(target: Path, operands: Sequence[tuple[Path, float]]) -> None:
    """Writes the weighted sum of adapters, A and B each, as a new adapter folder."""
    loaded = [(load_file(folder / WEIGHTS), weight) for folder, weight in operands]
    merged: dict[str, torch.Tensor] = {}
    for name in loaded[0][0]:
        merged[name] = sum(
            (tensors[name] * weight for tensors, weight in loaded[1:]), loaded[0][0][name] * loaded[0][1]
        )
    target.mkdir(parents=True, exist_ok=True)
    save_file(merged, target / WEIGHTS, {"format": "pt"})
    if target != operands[0][0]:
        shutil.copyfile(operands[0][0] / CONFIG, target / CONFIG)
