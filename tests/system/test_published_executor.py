"""The published way to run a graph, restated plainly on real models, gives our texts: every node in turn, one prompt
at a time, with the expert loaded anew; greedy, float32, the chat path with its second <bos>."""

import numpy as np
import pytest
import torch
from peft import PeftModel
from tiny import make_pool
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, LlamaForCausalLM

from swarm.engines.base import GenerationParams
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.maths.decode import PUBLISHED, decode, topological_order
from swarm.system.execute import answer_all
from swarm.system.prompts import Query
from swarm.system.system import System
from swarm.weights.pool import read_pool

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %} one {{ m['content'] }} two {% endfor %}"
    "{% if add_generation_prompt %}is{% endif %}"
)
QUERIES = [
    Query("what is red", chunks=("blue one", "", "no green", "three")),
    Query("is one two", chunks=("red", "two two", "yes", "blue")),
    Query("three blue no yes"),
]


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    root = tmp_path_factory.mktemp("executor")
    folder = make_pool(root, count=4)
    tokenizer = AutoTokenizer.from_pretrained(root / "base")
    tokenizer.chat_template = TEMPLATE
    # as Gemma's does, this tokenizer begins every text with <bos>; so does the rendered template
    tokenizer._tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer.save_pretrained(root / "base")
    return read_pool(folder)


def published(pool, graph, assignment, query, chat):
    """What the end says."""
    tokenizer = AutoTokenizer.from_pretrained(pool.base)
    said = {}
    for position, node in enumerate(topological_order(graph)):
        question = f"Context: {query.chunks[position]}\n{query.text}" if query.chunks else query.text
        earlier = [said[source] for source in sorted(graph.predecessors(node))]
        prompt = "Please answer the following question"
        if earlier:
            prompt += " with the help of previous responses, feel free to ignore wrong or unhelpful responses.\n"
            prompt += "".join(f"Previous response {k + 1}: {text}\n" for k, text in enumerate(earlier))
        else:
            prompt += ".\n"
        prompt += f"Question: {question}"
        if chat:
            message = [{"role": "user", "content": prompt}]
            prompt = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=True)["input_ids"]
        assert ids[0].tolist().count(2) == (2 if chat else 1)
        expert = pool.names[assignment[node]]
        folder = next(a.folder for a in pool.adapters if a.name == expert)
        model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(pool.base), folder).eval()
        with torch.no_grad():
            output = model.generate(input_ids=ids, do_sample=False, max_new_tokens=6)
        said[node] = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip().replace("\n", " ")
    return said[node]


@pytest.mark.parametrize("chat", [False, True])
def test_text_for_text(pool, chat):
    rng = np.random.default_rng(int(chat))
    graphs = [decode(rng.uniform(size=(4, 4)) * (1 - np.eye(4)), rule=PUBLISHED) for _ in range(3)]
    assignments = [rng.integers(0, 4, size=4).tolist() for _ in graphs]
    experts = tuple(pool.experts())
    systems = [System(graph, tuple(row), experts) for graph, row in zip(graphs, assignments, strict=True)]
    params = GenerationParams(6, chat=chat, second_bos=True)
    ours = answer_all(InProcessEngine(pool, device="cpu"), [(system, QUERIES) for system in systems], params)
    theirs = [
        [published(pool, graph, row, query, chat) for query in QUERIES]
        for graph, row in zip(graphs, assignments, strict=True)
    ]
    assert ours == theirs
    assert len({text for texts in ours for text in texts}) > 4, "the texts do differ"
