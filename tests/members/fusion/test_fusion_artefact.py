"""What is saved of a fusion comes back, or says what differs."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from kinds_of_tokenizers import byte_level_bpe, sentence_piece_bpe, words
from safetensors.torch import load_file, save_file

from swarm.errors import UserError
from swarm.members.fusion.anchors import common_anchors, select_anchors
from swarm.members.fusion.fusion_artefact import (
    FACTS,
    TENSORS,
    FusionArtefact,
    embedding_digest,
    load_artefact,
    member_facts,
    save_artefact,
    saved_rule,
)
from swarm.members.fusion.vocabulary import read_vocabulary

TOKENIZERS = [byte_level_bpe(), sentence_piece_bpe()]
VOCABULARIES = [
    read_vocabulary(tokenizer, name) for tokenizer, name in zip(TOKENIZERS, ("level", "piece"), strict=True)
]
EMBEDDINGS = [
    torch.randn(len(vocabulary) + 3, 8, generator=torch.Generator().manual_seed(seed))
    for seed, vocabulary in enumerate(VOCABULARIES)
]


def artefact(rows=False, vocabularies=VOCABULARIES):
    anchors = common_anchors(vocabularies)
    members = [member_facts(v, e, 0.75) for v, e in zip(vocabularies, EMBEDDINGS, strict=True)]
    dense = tuple((torch.rand(len(e), len(anchors)) + i).bfloat16() for i, e in enumerate(EMBEDDINGS)) if rows else ()
    return FusionArtefact(anchors, tuple(members), centred=True, normalised=False, rows=dense)


@pytest.fixture
def folder(tmp_path):
    save_artefact(tmp_path / "fused", artefact(rows=True))
    return tmp_path / "fused"


def refused(folder, vocabularies=VOCABULARIES, matrices=EMBEDDINGS):
    with pytest.raises(UserError) as error:
        load_artefact(folder, vocabularies, matrices)
    said = str(error.value)
    assert "\n" not in said and "build it again with" in said
    return said


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("rule", ["bytes", "published"])
def test_it_comes_back(tmp_path, rows, rule):
    vocabularies = [read_vocabulary(t, v.name, rule) for t, v in zip(TOKENIZERS, VOCABULARIES, strict=True)]
    saved = artefact(rows, vocabularies)
    save_artefact(tmp_path / "fused", saved)
    assert saved_rule(tmp_path / "fused") == rule
    loaded = load_artefact(tmp_path / "fused", vocabularies, EMBEDDINGS)
    assert loaded.anchors.keys == saved.anchors.keys and torch.equal(loaded.anchors.ids, saved.anchors.ids)
    assert (loaded.members, loaded.centred, loaded.normalised) == (saved.members, True, False)
    assert all(map(torch.equal, loaded.rows, saved.rows)) and len(loaded.rows) == len(saved.rows)
    assert load_file(tmp_path / "fused" / TENSORS)["ids"].dtype == torch.int32
    assert {path.name for path in (tmp_path / "fused").iterdir()} == {TENSORS, FACTS}


def test_another_model_may_be_main(folder):
    there, turned = (load_artefact(folder, VOCABULARIES[::s], EMBEDDINGS[::s]) for s in (1, -1))
    assert torch.equal(turned.anchors.ids, there.anchors.ids.flip(0)) and turned.members == there.members[::-1]
    assert turned.anchors.keys == there.anchors.keys and torch.equal(turned.rows[0], there.rows[1])


def test_two_equal_models_keep_their_order(tmp_path):
    vocabularies, matrices = [VOCABULARIES[0], replace(VOCABULARIES[0], name="twin")], [EMBEDDINGS[0]] * 2
    members = tuple(member_facts(v, e, 0.9) for v, e in zip(vocabularies, matrices, strict=True))
    save_artefact(tmp_path / "fused", FusionArtefact(common_anchors(vocabularies), members))
    loaded = load_artefact(tmp_path / "fused", vocabularies, matrices)
    assert [member.name for member in loaded.members] == ["level", "twin"]


def test_a_number_format_that_holds_the_same_values_is_the_same(folder):
    assert embedding_digest(EMBEDDINGS[0]) != embedding_digest(EMBEDDINGS[0].bfloat16())
    half = EMBEDDINGS[0].bfloat16()
    assert embedding_digest(half) == embedding_digest(half.float())
    assert embedding_digest(EMBEDDINGS[0]) != embedding_digest(EMBEDDINGS[0].reshape(-1, 4))
    many = torch.randn(5000, 1024)
    assert embedding_digest(many) == embedding_digest(many.t().contiguous().t())


def test_other_embeddings_are_refused(folder):
    moved = [EMBEDDINGS[0], EMBEDDINGS[1].clone()]
    moved[1][7, 3] += 1e-6
    assert "the embedding matrix of piece" in refused(folder, matrices=moved)
    assert "level" not in refused(folder, matrices=moved)
    assert "the tokenizer and the embedding matrix together of level" in refused(folder, matrices=EMBEDDINGS[::-1])


def test_another_tokenizer_is_refused(folder):
    changed = sentence_piece_bpe()
    changed.add_tokens(["<new>"])
    assert "the tokenizer of piece" in refused(folder, [VOCABULARIES[0], read_vocabulary(changed, "piece")])
    other = read_vocabulary(words(), "words")
    assert "the tokenizer and the embedding matrix of words" in refused(
        folder, [VOCABULARIES[0], other], [EMBEDDINGS[0], torch.zeros(6, 2)]
    )


def test_another_number_of_models_is_refused(folder):
    assert "made for 2 models (level, piece), given 1" in refused(folder, VOCABULARIES[:1], EMBEDDINGS[:1])


def test_keys_by_another_rule_are_refused(folder):
    published = [read_vocabulary(t, v.name, "published") for t, v in zip(TOKENIZERS, VOCABULARIES, strict=True)]
    assert "by the rule 'bytes', given published" in refused(folder, published)


def test_columns_in_another_order_are_refused(folder):
    tensors = load_file(folder / TENSORS)
    save_file(tensors | {"rows.0": tensors["rows.0"].flip(1).contiguous()}, folder / TENSORS)
    assert "not the one that fusion.json was written with" in refused(folder)


def test_a_list_of_anchors_that_the_tokenizers_do_not_agree_on_is_refused(tmp_path):
    good = artefact()
    for ids in (good.anchors.ids.flip(1), torch.stack([good.anchors.ids[0], good.anchors.ids[1].roll(1)])):
        save_artefact(tmp_path / "fused", replace(good, anchors=replace(good.anchors, ids=ids)))
        assert "do not agree on" in refused(tmp_path / "fused")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "is not there"),
        (lambda path: path.write_text("{"), "is damaged"),
        (lambda path: path.write_text("[1]"), "is damaged"),
        (lambda path: path.write_text('{"format": 9}'), "has format 9, wanted 1"),
        (lambda path: path.write_bytes(b"\xff"), "is damaged"),
        (lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"members": [{}]})), "members"),
        (lambda path: (path.parent / TENSORS).unlink(), "is missing"),
    ],
)
def test_damage_is_said(folder, change, said):
    change(folder / FACTS)
    assert said in refused(folder)


def test_it_is_whole_or_not_there(folder, tmp_path):
    before = (folder / FACTS).read_text()
    broken = replace(artefact(), members=(replace(artefact().members[0], self_mass=float("nan")),))
    with pytest.raises(ValueError, match="JSON"):
        save_artefact(folder, broken)
    assert (folder / FACTS).read_text() == before and [path.name for path in tmp_path.iterdir()] == ["fused"]
    few = select_anchors(artefact().anchors, "consistency", 20, embeddings=EMBEDDINGS)
    save_artefact(folder, replace(artefact(), anchors=few))
    loaded = load_artefact(folder, VOCABULARIES, EMBEDDINGS)
    assert len(loaded.anchors) == 20 and loaded.anchors.selection == "consistency" and not loaded.rows
    with pytest.raises(ValueError, match="rows of 1 models"):
        save_artefact(folder, replace(artefact(), rows=artefact(rows=True).rows[:1]))


def test_a_folder_of_other_things_is_not_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"holds no fusion\.json; name a folder that is new"):
        save_artefact(tmp_path / "mine", artefact())
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    shutil.rmtree(tmp_path / "mine")
    save_artefact(tmp_path / "mine", artefact())


def test_earlier_versions_find_what_they_ask_for(folder):
    facts = json.loads((folder / FACTS).read_text())
    assert [member["self_mass"] for member in facts["members"]] == [0.75, 0.75]
