"""Plugins are found by group and name, said to be where they are from, and run only when they are asked for."""

import hashlib
import pickle
import subprocess
import sys

import pytest

from swarm.errors import BudgetReached, UserError
from swarm.plugins import (
    GROUPS,
    faults_named,
    files_in_use,
    find_plugin,
    names_in,
    offered,
    plugin_files,
    plugin_files_digest,
    register,
    use_files,
    use_plugin_files,
)

REGISTER = "from swarm.plugins import register\n"
GOOD = REGISTER + "\n@register('evals', 'mine')\ndef score(reply, example):\n    return 1.0\n"


@pytest.fixture(autouse=True)
def no_files_of_other_tests():
    yield
    use_plugin_files(None)


@pytest.fixture
def file(tmp_path):
    """Writes a plugin file and gives its name."""

    def write(code, name="plugin.py"):
        path = tmp_path / name
        path.write_text(code)
        return str(path)

    return write


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Puts a package with these entry points on the path, as pip leaves one behind; its module is `<name>_code`."""

    def install(name, code, **points):
        site = tmp_path / f"site_{name}"
        about = site / f"{name}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"[h_swarm.{group}]\n{entry} = {name}_code:{entry}\n" for group, entry in points.items()]
        (about / "entry_points.txt").write_text("\n".join(lines))
        (site / f"{name}_code.py").write_text(code)
        monkeypatch.syspath_prepend(str(site))

    return install


def test_a_file_s_plugins_are_there_while_it_is_in_use(file):
    use_plugin_files(file(GOOD))
    found = find_plugin("evals", "mine")
    assert found.load()("", None) == 1.0 and found.source == f"{file(GOOD)}, line 3"
    assert found.code == hashlib.sha256(GOOD.encode()).hexdigest()
    assert names_in("evals", ["ours"]) == ["ours", "mine"] and find_plugin("metrics", "mine") is None
    use_plugin_files(file(GOOD.replace("mine", "other"), "other.py"))
    assert names_in("evals") == ["other"], "those of a file that is not named any more do not count"
    use_plugin_files(None)
    assert offered("evals") == [] and files_in_use() == ()


def test_a_file_is_run_once_as_long_as_it_stays_the_same(file, tmp_path):
    count = f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n"
    for _ in range(2):
        use_plugin_files(file(GOOD + count))
    assert (tmp_path / "runs").read_text() == "x"
    use_plugin_files(file(GOOD + count + "# another line\n"))
    assert (tmp_path / "runs").read_text() == "xx" and names_in("evals") == ["mine"], "in the place of the former"
    use_plugin_files(f"{file(GOOD)}, {file(GOOD)}")
    assert len(files_in_use()) == 1


def test_another_process_can_use_the_same_files(file):
    """What they define can be sent there: it is the very content that was read, whatever the file holds by then."""
    code = REGISTER + "class Kind:\n    pass\nregister('members', 'kind')(Kind)\n"
    name = file(code)
    use_plugin_files(name)
    sent = pickle.dumps((files_in_use(), pickle.dumps(find_plugin("members", "kind").load()())))
    file("raise RuntimeError\n")
    program = (
        "import pickle, sys; from swarm.plugins import use_files\n"
        "files, value = pickle.loads(sys.stdin.buffer.read()); use_files(files)\n"
        "print(type(pickle.loads(value)).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["Kind"]


def test_the_digest_is_of_all_files_and_runs_none(file):
    bad = file("raise RuntimeError", "bad.py")
    both = plugin_files_digest(f"{file(GOOD)},{bad}")
    assert both != plugin_files_digest(f"{bad},{file(GOOD)}") != plugin_files_digest(bad)
    before = plugin_files_digest(bad)
    assert before == plugin_files_digest(bad) and before != plugin_files_digest(file("pass", "bad.py"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("\nraise ValueError('so\\nmuch')", r"cannot be run, line 2: ValueError: so much; mend it$"),
        ("def (", r"plugin\.py cannot be run, line 1: SyntaxError"),
        ("import json\njson.loads('')", r"cannot be run, line 2: JSONDecodeError"),
        ("raise SystemExit(0)", "cannot be run, line 1: SystemExit"),
        ("x = '\0'", r"plugin\.py cannot be run.*null bytes"),
        ("x = 1", "registers nothing; put @register"),
        (REGISTER + "@register('eval', 'x')\ndef f(): pass", "line 2: @register has the group 'eval'; wanted"),
        (REGISTER + "@register('engines', 'x')\ndef f(): pass", "has the group 'engines'; wanted one of: evals"),
        (REGISTER + "@register('evals', 'x.py')\ndef f(): pass", "has the name 'x.py'; wanted letters"),
        (REGISTER + "@register('evals', 'a b')\ndef f(): pass", "has the name 'a b'; wanted letters"),
        (GOOD + GOOD, r"eval 'mine' is there 2 times, from \S+plugin.py, line 3 and from \S+, line 8: rename one"),
    ],
)
def test_a_file_that_will_not_do_is_refused_in_one_line(file, code, message):
    use_plugin_files(file(GOOD, "good.py"))
    with pytest.raises(UserError, match=message) as refused:
        use_plugin_files(file(code))
    assert "\n" not in str(refused.value)
    assert [one.path.name for one in files_in_use()] == ["good.py"], "nothing has changed"
    with pytest.raises(UserError, match=message):
        use_plugin_files(file(code))


def test_a_file_that_is_not_there(file, tmp_path):
    for value in ("nowhere.py", str(tmp_path), "", f"{file(GOOD)},", file(GOOD, "plugin.txt")):
        with pytest.raises(UserError, match="no plugin file .*: wanted FILE.py; name one that is there"):
            plugin_files(value)


def test_packages_are_imported_when_they_are_asked_for(package):
    package("good", "def loud(reply, example): return 1", evals="loud")
    package("bad", "import nowhere_at_all", evals="quiet")
    assert [(plugin.name, plugin.source, plugin.code) for plugin in offered("evals")] == [
        ("loud", "good 1.0", "good 1.0"),
        ("quiet", "bad 1.0", "bad 1.0"),
    ]
    assert find_plugin("evals", "loud").load()("", None) == 1 and "bad_code" not in sys.modules
    with pytest.raises(UserError, match="eval 'quiet' of bad 1.0 cannot be imported .ModuleNotFoundError: No module"):
        find_plugin("evals", "quiet").load()


def test_a_name_that_is_there_twice_is_refused_when_it_is_asked_for(package, file):
    package("one", "def loud(): pass\ndef other(): pass", evals="loud")
    package("two", "def loud(): pass", evals="loud", metrics="loud")
    with pytest.raises(UserError, match=r"eval 'loud' is there 2 times, from one 1.0 and from two 1.0: rename one"):
        find_plugin("evals", "loud")
    assert find_plugin("metrics", "loud") and find_plugin("evals", "exact_match", ["exact_match"]) is None
    with pytest.raises(UserError, match="metric 'loud' is there 2 times, from this program and from two 1.0"):
        find_plugin("metrics", "loud", ["loud"])
    with pytest.raises(UserError, match="metric 'loud' is there 2 times, from two 1.0 and from .*plugin.py, line 3"):
        use_plugin_files(file(GOOD.replace("evals", "metrics").replace("mine", "loud")))
    with pytest.raises(UserError, match="eval 'mine' is there 2 times, from .*plugin.py, line 3 and from .*other.py"):
        use_plugin_files(f"{file(GOOD)},{file(GOOD, 'other.py')}")


def test_what_a_notebook_registers_counts_and_may_be_registered_again():
    for value in (1, 2):
        register("evals", "cell")(lambda reply, example, value=value: value)
    assert find_plugin("evals", "cell").load()("", None) == 2
    use_files(())
    assert find_plugin("evals", "cell"), "whichever files are in use"
    from swarm import plugins

    del plugins._registered[__name__]


def test_faults_of_others_are_named_and_our_own_are_left_alone(file):
    use_plugin_files(file(REGISTER + "@register('evals', 'x')\ndef f():\n    return 1 / 0\n"))
    theirs = find_plugin("evals", "x").load()
    said = r"x raised ZeroDivisionError: division by zero \(\S+plugin.py, line 4\); mend"
    with pytest.raises(UserError, match=said), faults_named("x", theirs):
        theirs()
    with pytest.raises(ZeroDivisionError), faults_named("x", register):
        theirs()
    with pytest.raises(BudgetReached), faults_named("x", theirs):
        raise BudgetReached("enough")


def test_every_group_has_its_entry_points():
    groups = "evals optimizers members engines metrics datasets trackers".split()
    assert [group.entry_points for group in GROUPS.values()] == [f"h_swarm.{name}" for name in groups]
