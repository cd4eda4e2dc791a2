"""Where a setting stands in a fusion's node.json changes nothing but where it is read."""

import json
import re
from types import SimpleNamespace

import pytest
from repository import ROOT
from tiny import make_base, make_pool

from swarm.errors import UserError
from swarm.members.fusion.build import make_artefact
from swarm.members.fusion.fusion_artefact import save_artefact
from swarm.members.fusion.fusion_settings import ADVANCED, FIELDS, USUAL, read_settings
from swarm.members.fusion.loading import ModelSource, load_lexicon
from swarm.members.members import read_composite

NAMES = ["one", "two", "three"]
BESIDE = {
    "learning_rate": 0.3,
    "weights": [0.5, 0.3, 0.2],
    "space": "relative",
    "anchors": "random",
    "anchor_count": 9,
    "on_failure": "drop",
    "centre": True,
}
NESTED = {
    "anchor_seed": 3,
    "normalise": False,
    "keys": "published",
    "rows": "lazy",
    "row_memory": 64,
    "row_disk": 0,
    "gate": 0.9,
    "eos": "shared",
    "stop": ["\n\n"],
    "bridge": "legacy",
    "candidates": "needed",
    "dropped": 0.01,
    "least": 10,
    "most": 100,
    "consistency": "rbf",
    "temperature": 2,
    "top": 5,
}
# composite and member as version 2 of fused decoding knew them when every field stood beside the members
KNOWN_PLAIN = (
    "129ce06880faa08d92777fad3fa53027e1168b081c5c2505f3a616abeb72f8f9",
    "08effd235d259dcc1fb05cae2568db04b6becd32bf46c0eff8b76b14ecac3703",
)
KNOWN_SET = (
    "fda4b469efd76cc4591b67f29852f4015734ca6c046ff264d55bd7d80380ea23",
    "3d34e02f1f028e5e7df31aa1ece761a90bf93b687c72b8ca4ce01d901be1e46c",
)


@pytest.fixture
def read(tmp_path):
    """Reads a fusion of three experts with these fields."""

    def composite(**fields):
        folder = tmp_path / "fused"
        folder.mkdir(exist_ok=True)
        record = {"type": "fusion", "members": NAMES, "main": "two"} | fields
        (folder / "node.json").write_text(json.dumps(record))
        return read_composite(folder)

    return composite


def digests(composite):
    """Its own, and that of the member whose experts have digests of their names."""
    experts = {name: SimpleNamespace(name=name, digest=name) for name in NAMES}
    return composite.digest, composite.with_members(experts).digest


def test_kept_answers_are_found_again_whichever_form_says_the_same(read):
    assert set(BESIDE) | set(NESTED) == set(FIELDS) - {"mode", "inverse", "updates", "artefact"}
    assert digests(read()) == digests(read(advanced={})) == KNOWN_PLAIN
    assert digests(read(**BESIDE, **NESTED)) == digests(read(**BESIDE, advanced=NESTED)) == KNOWN_SET
    some = {name: NESTED[name] for name in list(NESTED)[::2]}
    rest = {name: value for name, value in NESTED.items() if name not in some}
    assert digests(read(**BESIDE, **some, advanced=rest)) == KNOWN_SET


@pytest.mark.parametrize("name", NESTED)
def test_each_is_one_setting_in_either_place(read, name):
    assert read(**BESIDE, advanced={name: NESTED[name]}).settings == read(**BESIDE, **{name: NESTED[name]}).settings


def test_an_artefact_is_read_and_written_where_it_stands(tmp_path):
    directory = make_pool(tmp_path)
    make_base(tmp_path / "other", seed=5, family="gpt2")
    lexicons = [load_lexicon(name, ModelSource(str(tmp_path / name))) for name in ("base", "other")]
    save_artefact(tmp_path / "anchors", make_artefact(lexicons, read_settings("here", {}, 2), dense=False))
    entries = ["expert_0", {"model": "../../other"}]
    place = {"artefact": "../../anchors"}
    absolute = {"artefact": str(tmp_path / "anchors")}
    written, known = [], set()
    for name, fields in (("flat", place), ("nested", {"advanced": {"gate": 0.9} | place})):
        (directory / name).mkdir()
        (directory / name / "node.json").write_text(json.dumps({"type": "fusion", "members": entries} | fields))
        composite = read_composite(directory / name)
        assert [str(folder) for folder in composite.reads] == [absolute["artefact"]]
        composite.write(tmp_path / "found" / name)
        written.append(json.loads((tmp_path / "found" / name / "node.json").read_text()))
        again = read_composite(tmp_path / "found" / name)
        assert again.digest == composite.digest
        known.add(composite.digest)
    assert len(known) == 2, "the gate counts"
    models = [{"name": "other", "model": str(tmp_path / "other")}]
    flat = {"type": "fusion", "members": ["expert_0", *models]}
    assert written == [flat | absolute, flat | {"advanced": {"gate": 0.9} | absolute}]


def test_what_is_found_is_written_as_its_user_wrote_it(read, tmp_path):
    for number, fields in enumerate(({**BESIDE, **NESTED}, {**BESIDE, "advanced": NESTED}, {"advanced": {}})):
        composite = read(**fields)
        composite.write(tmp_path / str(number))
        written = json.loads((tmp_path / str(number) / "node.json").read_text())
        assert written == {"type": "fusion", "members": NAMES, "main": "two"} | fields


def test_what_changes_nothing_is_named_from_either_place(read, caplog):
    read(advanced={"top": 5, "anchor_seed": 1})
    nested = [record.getMessage() for record in caplog.records]
    caplog.clear()
    read(top=5, anchor_seed=1)
    assert nested == [record.getMessage() for record in caplog.records] != []


def test_ten_are_for_everybody():
    assert len(USUAL) == 10
    assert sorted((*USUAL, *ADVANCED)) == sorted(FIELDS)


def test_the_documentation_has_a_row_for_each_the_ten_first():
    text = (ROOT / "docs" / "fusion.md").read_text(encoding="utf8")
    section = text.partition("\n## Settings\n")[2].partition("\n## ")[0]
    tables = [block.splitlines()[2:] for block in section.split("\n\n") if block.startswith("| field")]
    listed = [[name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])] for rows in tables]
    assert [sorted(names) for names in listed] == [sorted(USUAL), sorted(ADVANCED)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"advanced": None}, 'advanced is None; wanted an object of settings, such as {"gate": 0.9}'),
        ({"advanced": ["gate"]}, "advanced is ['gate']; wanted an object of settings"),
        ({"speed": 1}, f" has the field 'speed'; wanted of: type, members, main, {', '.join(USUAL)}, advanced (advan"),
        ({"speed": 1}, f"advanced (advanced has {len(ADVANCED)} more: docs/fusion.md)"),
        ({"Learning_Rate": 1}, "has the field 'Learning_Rate' (did you mean 'learning_rate'?); wanted of: type,"),
        ({"row_memry": 64}, "has the field 'row_memry' (did you mean 'row_memory', under advanced?); wanted of: type,"),
        ({"advanced": {"gaet": 0.9}}, "advanced has the field 'gaet' (did you mean 'gate'?); wanted of: temperature,"),
        ({"advanced": {"speed": 1}}, f": advanced has the field 'speed'; wanted of: {', '.join(ADVANCED)}"),
        ({"advanced": {"center": True}}, "the field 'center' (did you mean 'centre', beside members?); wanted of"),
        ({"advanced": {"advanced": {}}}, ": advanced is under advanced; wanted it outside, beside members"),
        ({"Advance": {}}, "has the field 'Advance' (did you mean 'advanced'?); wanted of: type,"),
        ({"advanced": {"centre": True}}, ": centre is under advanced; wanted it outside, beside members"),
        ({"advanced": {"main": "one"}}, ": main is under advanced; wanted it outside, beside members"),
        ({"gate": 0.9, "advanced": {"gate": 0.9}}, " has gate twice, beside members and under advanced; leave one"),
        ({"advanced": {"gate": "high"}}, ": gate is 'high'; wanted float or int"),
        ({"advanced": {"least": 9, "most": 5}}, ": least must be between 1 and 5, got 9"),
        ({"advanced": {"stop": "\n"}}, ": stop is '\\n'; wanted a list of texts"),
    ],
    ids=str,
)
def test_what_cannot_be_is_named_with_its_cure(read, tmp_path, fields, said):
    with pytest.raises(UserError) as error:
        read(**fields)
    assert str(error.value).startswith(f"{tmp_path}/fused/node.json") and "\n" not in str(error.value)
    assert said in str(error.value)
