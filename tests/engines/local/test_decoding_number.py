"""DECODING is part of every kept answer's key: it is raised where texts change, and only there.

What decides a text is code. That of the files below, without comments and docstrings, is compared with what it was when
somebody last showed that texts are equal, so this fails after every change there. Then either show that texts are the
same (tests/engines, tests/members/fusion, and a cache from before the change that answers all of a run) and write the
new digest down, or raise DECODING and do the same.
"""

import ast
import hashlib
import json
from pathlib import Path

from repository import ROOT

from swarm.engines.local.transformers_engine import DECODING

DECIDING = {
    "engines/local": "answer_texts answering attention_masks chat_template decoder decoder_choice device_map "
    "expert_rows generation_settings kv_cache long_rows lora_batch neighbours plain_generate positions prefix_store "
    "pretrained prompt_tokens ragged_stepper resident_model row_stepper sampled_tokens shared_prefixes side_by_side "
    "stepper token_core transformers_engine",
    "members/fusion": "anchors boundaries candidates digit_vote failure_policy follower fused_decoding fused_step "
    "fusion_models growing_text option_choice perplexity pieces row_table rows token_choosers unions vocabulary "
    "working_set",
    "maths": "inverse member_weights relative targets token_union",
    "weights": "adapters full_model materialise streamed tensors",
}
KEPT = Path(__file__).with_name("decoding.json")


def plain(node):
    """A syntax tree as lists and texts that are the same in every version of Python."""
    if isinstance(node, list):
        return [plain(part) for part in node]
    if not isinstance(node, ast.AST):
        return ascii(node)  # repr of a letter differs between versions of Python
    fields = {name: part for name, part in ast.iter_fields(node) if part is not None and part != [] and name != "kind"}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
        fields["body"] = node.body[1:]
    return [type(node).__name__, {name: plain(value) for name, value in sorted(fields.items())}]


def digest():
    """Of all files that decide a text."""
    files = [ROOT / "swarm" / room / f"{name}.py" for room, names in DECIDING.items() for name in names.split()]
    trees = {path.relative_to(ROOT).as_posix(): plain(ast.parse(path.read_text(encoding="utf8"))) for path in files}
    return hashlib.sha256(json.dumps(trees, sort_keys=True).encode()).hexdigest()


def test_what_decides_a_text_is_as_it_was_when_texts_were_last_shown_to_be_equal():
    kept = json.loads(KEPT.read_text())
    assert kept == {"DECODING": DECODING, "digest": digest()}, __doc__


def test_a_change_is_seen_and_a_comment_is_none():
    one = ast.parse("def f(a):\n    '''Says.'''\n    return a + 1")
    other = ast.parse("def f(a): return a + 2")
    assert plain(one) != plain(other)
    assert plain(one) == plain(ast.parse("# why\ndef f(a):\n    return a + 1"))
