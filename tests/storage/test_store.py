"""Folders that are kept: known by their record, whole, and refused where anything in them is not what was written."""

import json
import os

import pytest

from swarm.errors import UserError
from swarm.storage.store import KeptFolder, differences, digests_below, read_record, record_digest

TABLES = KeptFolder("table.json", "table", "make it again", 2, ("rows", "files"))


def kept(folder, **record):
    record = {"rows": 3} | record
    with TABLES.writing(folder, record) as new:
        (new / "part").mkdir()
        (new / "part" / "numbers").write_text("1 2 3")
        record["files"] = digests_below(new)
    return folder


def test_what_was_written_is_read_and_written_over(tmp_path):
    folder = kept(tmp_path / "mine")
    record = TABLES.read(folder)
    assert record == {"format": 2, "rows": 3, "files": digests_below(folder, ["part"])}
    TABLES.check_files(folder, digests_below(folder, ["part"]), record["files"])
    assert TABLES.read(kept(folder, rows=4))["rows"] == 4


def test_a_folder_of_another_kind_is_not_written_over(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "only copy").touch()
    with pytest.raises(UserError, match=r"notes is there and holds no table.json; name a folder that is new"):
        kept(tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["only copy"]


def test_after_an_error_the_old_one_is_there(tmp_path):
    kept(tmp_path / "mine")
    with pytest.raises(ZeroDivisionError), TABLES.writing(tmp_path / "mine", {"rows": 1 // 0}):
        pass
    assert TABLES.read(tmp_path / "mine")["rows"] == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not there: .* holds no table; make it again, or name its folder"),
        ("{", "is damaged .*; make it again"),
        ("[]", "is damaged .*; make it again"),
        ("[" * 100_000, "is damaged .RecursionError.*; make it again"),
        ('{"rows": 3}', "has format None, wanted 2; make it again, or use the version"),
        ('{"format": 1, "rows": 3, "files": {}}', "has format 1, wanted 2; make it again, or use the version"),
        ('{"format": 2, "rows": 3}', "is damaged .files missing.; make it again"),
    ],
)
def test_a_record_that_cannot_be_taken(tmp_path, content, said):
    folder = kept(tmp_path / "mine")
    (folder / "table.json").unlink() if content is None else (folder / "table.json").write_text(content)
    with pytest.raises(UserError, match=f"table.json {said}"):
        TABLES.read(folder)


def test_files_that_are_gone_new_or_others_are_named(tmp_path):
    folder = kept(tmp_path / "mine")
    written = TABLES.read(folder)["files"]
    (folder / "part" / "numbers").write_text("1 2 4")
    (folder / "part" / "more").touch()
    with pytest.raises(UserError, match="part/more, part/numbers missing, added, or not what was written; make it"):
        TABLES.check_files(folder, digests_below(folder, ["part"]), written)


def test_what_is_no_file_among_the_files_is_named_and_not_waited_for(tmp_path):
    folder = kept(tmp_path / "mine")
    written = TABLES.read(folder)["files"]
    os.mkfifo(folder / "part" / "pipe")
    (folder / "part" / "broken").symlink_to("nowhere")
    with pytest.raises(UserError, match="part/broken, part/pipe missing, added, or not what was written; make it"):
        TABLES.check_files(folder, digests_below(folder, ["part"]), written)


def test_a_kind_without_a_format_and_with_a_cure_of_its_own(tmp_path):
    notes = KeptFolder("note.json", "note", "write it again", None, ("text",), "move it away")
    with notes.writing(tmp_path / "mine", {"text": "x"}):
        pass
    assert json.loads((tmp_path / "mine" / "note.json").read_text()) == notes.read(tmp_path / "mine") == {"text": "x"}
    (tmp_path / "mine" / "note.json").write_text('{"format": 3, "text": "x"}')
    with pytest.raises(UserError, match="has format 3, wanted None; write it again"):
        notes.read(tmp_path / "mine")
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=r"other is there and holds no note.json; move it away$"):
        notes.check_place(tmp_path / "other")


def test_a_record_beside_a_file(tmp_path):
    path = tmp_path / "results.json"
    assert read_record(path, "delete it") is None
    path.write_text('{"a": 1}')
    assert read_record(path, "delete it") == {"a": 1}
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"results.json is damaged .*a named pipe, no file.*; delete it"):
        read_record(path, "delete it")


def test_fields_that_differ_are_told_with_both_values():
    before, now = {"a": 1, "b": [2], "gone": 3, "note": "x"}, {"new": 4, "a": 1, "b": [5], "note": "y"}
    assert differences(before, now, ["note"]) == {"new": (None, 4), "b": ([2], [5]), "gone": (3, None)}
    assert list(differences(before, now)) == ["new", "b", "note", "gone"]
    assert differences(now, now) == {}


def test_a_record_s_digest_is_of_its_decisive_fields():
    record = {"a": 1, "b": [2.5], "note": "x"}
    assert record_digest(record, "ab") == record_digest(json.loads(json.dumps(record)) | {"note": "y"}, "ab")
    assert record_digest(record, "ab") != record_digest(record | {"a": 2}, "ab")
