"""The README tells the truth, and so does the map of the files: size, links, figures and the lines of Python."""

import ast
import json
import re
import shutil

import pytest
from repository import ROOT

from swarm.data.graph_tasks import SKILLS
from swarm.programs.baselines import AVERAGE, VOTE, baselines_program
from swarm.programs.search import search_program

README = (ROOT / "README.md").read_text(encoding="utf8")
PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf8")
TREE = (ROOT / "docs" / "files.md").read_text(encoding="utf8").split("## The repository")[1]
# its lines by how far they stand in: what is in the repository, and what is in a folder of it
OUTER, INNER = (re.findall(rf"^ {{{column}}}(\S+)  ", TREE, re.MULTILINE) for column in (4, 6))


def test_it_is_short():
    assert len(README.encode()) <= 6144


def test_every_room_script_and_page_is_in_the_tree_and_none_that_is_not_there():
    rooms = {f"{path.name}/" for path in (ROOT / "swarm").iterdir() if (path / "__init__.py").exists()}
    files = {path.name for folder in ("scripts", "docs") for path in (ROOT / folder).iterdir() if path.is_file()}
    said_in_the_line_of_docs = {"graph_tasks.yml", "settings.schema.json", "site.css"}
    assert sorted(INNER) == sorted(rooms | files - said_in_the_line_of_docs)
    assert all(name in TREE for name in said_in_the_line_of_docs)
    for name in OUTER:
        assert (ROOT / name).exists(), name


def test_the_rooms_stand_in_the_same_order_wherever_they_are_listed():
    """In the map, in the page on the package, and in the contract that CI checks, which has the lowest one last."""
    names = {path.name for path in (ROOT / "swarm").iterdir() if (path / "__init__.py").exists()}
    listed = [name.removesuffix("/") for name in INNER if name.endswith("/")]
    page = re.findall(r"^\| `(\w+)/` \|", (ROOT / "swarm/README.md").read_text(encoding="utf8"), re.MULTILINE)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    contract = re.search(r"^layers = \[(.*?)\]", settings, re.MULTILINE | re.DOTALL)
    layers = [name for name in re.findall(r'"(\w+)"', contract[1]) if name in names]
    assert listed == page == layers[::-1] and set(listed) == names and len(names) == 15


def test_what_the_page_on_the_package_names_is_there():
    page = (ROOT / "swarm/README.md").read_text(encoding="utf8")
    rows = page.split("## Where something new goes")[1]
    for name in re.findall(r"`([a-z_/]+\.py)`", rows):
        assert list((ROOT / "swarm").rglob(name)), name


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A folder with the embedded experts and their questions."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)


def test_the_lines_of_python_print_what_they_say(workdir, capsys):
    """Against a system that a search has really found, and the question's right answer."""
    small = "--graph_num 4 --trial_num 2 --dev_limit 40 --test_limit 6 -m 0 -n graphs".split()
    assert search_program(["-e", "exact_match", "-d", "graph_tasks_small", *small]) == 0
    capsys.readouterr()
    [code] = [part.split("```")[0] for part in README.split("```python")[1:]]
    exec(code, {})
    edges, node, answer = re.search(r'"([^"]+) ; degree of (\w)"\)\)  # (\d)\n', code).groups()
    first, second = capsys.readouterr().out.splitlines()
    assert first == answer == str(sum(node in edge for edge in edges.split()))
    assert re.fullmatch(r"strict 0\.\d{3} \[.*\] n=6, compat .*", second)
    fewest, most = SKILLS["degree"].edges
    assert fewest <= len(edges.split()) <= most, "as the experts have learnt it"


def test_the_page_on_python_does_what_it_says(workdir, capsys):
    names = {}
    first, second = [part.split("```")[0] for part in PYTHON.split("```python")[1:]]
    exec(first, names)
    score, answer, *nodes = capsys.readouterr().out.splitlines()
    assert f"interval: {score}\n" in first and f'degree of A"))  # {answer}\n' in first
    assert len([line for line in nodes if re.match(r"\d expert_\d_", line)]) == 6 and "Question: A-B:2" in "".join(
        nodes
    )
    assert len(names["rows"]) == 12 and [step["step"] for step in names["steps"]] == [1, 2, 3, 4]
    exec(second, names)
    assert capsys.readouterr().out == "['2'] True\n" and "# ['2'] True\n" in second


def test_the_notebook_runs(workdir, capsys):
    """Its cells one after the other; what a cell ends with is shown as a notebook would show it."""
    cells = json.loads((ROOT / "docs/tour.ipynb").read_text(encoding="utf8"))["cells"]
    names, shown = {}, []
    for cell in cells:
        assert cell["cell_type"] == "markdown" or not cell["outputs"], "kept without outputs, which would grow old"
        if cell["cell_type"] == "code":
            tree = ast.parse("".join(cell["source"]))
            last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "cell", "exec"), names)
            value = eval(compile(last, "cell", "eval"), names) if last else None
            shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    assert "<pre>search/graph_tasks_small_" in shown[0] and "<svg" in shown[1] and "role" in capsys.readouterr().out
    assert len(cells) > 10 and names["system"].system.graph.number_of_nodes() == 6


def test_rows_of_the_results_that_no_seed_decides(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert baselines_program(["-e", "exact_match", "-d", "graph_tasks_small", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    experts = [who for who in scores if who.startswith("expert_")]
    best = max(experts, key=lambda who: scores[who]["dev"]["strict"]["mean"])
    table = README.split("| right answers on test |")[1].split("\n\n")[0]
    for start, who in (("best single", best), ("uniform average", AVERAGE), ("majority vote", VOTE)):
        said = re.search(rf"\n\| {start}[^|]* \| (\.\d+) \| no seed \|", table)[1]
        assert said == f"{scores[who]['test']['strict']['mean']:.3f}"[1:]


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_data_format_that_it_shows(tmp_path, split):
    from swarm.data.load import load_dataset

    record = {"question": "...", "answer": "A", "id": "...", "choices": {"A": "...", "B": "x"}}
    content = {"dev": [record], "test": [record], "icl_prompt": "p", "generation": {"max_new_tokens": 80, "chat": True}}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    assert getattr(load_dataset(str(tmp_path / "mine.json")), split)[0].choices == {"A": "...", "B": "x"}
