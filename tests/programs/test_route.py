"""scripts/route.py as a user types it: fit, eval, ask on the embedded experts, and replays of stored answers."""

import json
import shutil

import pytest
from route_runs import bring_data, of, record, said

from swarm.errors import UserError
from swarm.programs.route.route import route_program

TASK = ("-e", "exact_match", "-d", "graph_tasks_small")
STORED = ("data/routing/validation.jsonl", "data/routing/test.jsonl")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with the data that git brings."""
    return bring_data(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def here(clone, monkeypatch):
    monkeypatch.chdir(clone)
    return clone


@pytest.fixture(scope="module")
def fitted(clone, tmp_path_factory):
    """A router over the six experts."""
    folder = tmp_path_factory.mktemp("routers") / "mine"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        picture = str(folder.parent / "curve.png")
        assert route_program(["fit", *TASK, "--out", str(folder), "--curve_plot", picture]) == 0
    return folder


def test_one_expert_s_price_and_more_than_the_best_one_s_quality(here, fitted, capsys):
    result = record(capsys, "eval", fitted, *TASK, "--test_limit", 120)
    singles = [line for line in result["lines"] if line["who"].startswith("expert_")]
    router, best = of(result, "router"), max(line["quality"]["mean"] for line in singles)
    assert router["asked"] == 1 and router["quality"]["low"] > best
    assert router["quality"]["mean"] <= of(result, "perfect choice")["quality"]["mean"]
    assert result["figures"]["accuracy"]["mean"] > 0.7
    text = said(capsys, "eval", fitted, *TASK, "--test_limit", 120)
    assert "expert_1_degree (best single)" in text and "perfect choice" in text


def test_more_labels_help(fitted):
    curve = json.loads((fitted / "fit.json").read_text())["curve"]
    assert [point["size"] for point in curve] == [25, 50, 90], "a quarter of 120 is what each router is tried on"
    assert curve[0]["gain"]["mean"] < curve[-1]["gain"]["mean"]
    assert curve[-1]["regret"]["mean"] < curve[0]["regret"]["mean"]
    assert (fitted.parent / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_figures_come_with_intervals(here, fitted, capsys, tmp_path):
    result = record(capsys, "eval", fitted, *TASK, "--test_limit", 60, "--plot", tmp_path / "cost.png")
    assert (tmp_path / "cost.png").read_bytes()[:4] == b"\x89PNG"
    figures, router = result["figures"], of(result, "router")
    assert figures["strong"] == "expert_1_degree"
    for name in ("accuracy", "fell_back", "calibration_error", "apgr", "calls_for_half"):
        assert figures[name]["low"] <= figures[name]["mean"] <= figures[name]["high"]
    assert figures["accuracy"]["mean"] == router["accuracy"]["mean"]
    assert figures["apgr"]["mean"] > 0.5


def test_who_is_asked_and_what_is_said(here, fitted, capsys):
    question = json.loads((here / "data/eval/graph_tasks_small.json").read_text())["test"][0]["question"]
    only = record(capsys, "ask", fitted, question, "--only")
    whole = record(capsys, "ask", fitted, question)
    assert whole["member"] == only["member"] and whole["confidence"] == only["confidence"]
    assert whole["answer"] and "answer" not in only


def test_a_search_assigns_the_router(programs, clone, fitted):
    code, out, err = programs.run(
        "search", *TASK, "--composites", fitted.parent, "--graph_num", 2, "--trial_num", 2, "--max_iteration", 1,
        "--dev_limit", 12, "--test_limit", 12, "--seed", 1, "-n", "routed", cwd=clone,
    )  # fmt: skip
    assert code == 0, out + err
    result = json.loads((clone / "search/routed/result.json").read_text())
    assert result["routers"]["mine"]["prompts"] > 0
    assert result["scores"]["best_composite"]["name"] == "mine"
    single, router = (result["scores"][who]["test"]["strict"]["mean"] for who in ("best_single", "best_composite"))
    assert router > single
    code, out, err = programs.run("evaluate", "search/routed", "--json", "--limit", 4, cwd=clone)
    assert code == 0, out + err


def test_a_replay_generates_nothing(here, capsys, tmp_path):
    words = ("replay", *STORED, "--metric", "bertscore", "--curve", "--out", tmp_path / "kept")
    result = record(capsys, *words, "--plot", tmp_path / "cost.png")
    router, best = of(result, "router"), of(result, result["best_single"])
    assert router["gain"]["low"] > 0 and router["quality"]["mean"] > best["quality"]["mean"]
    assert of(result, "perfect choice by bertscore")["regret"]["mean"] == 0
    assert router["GPT-Rank"] < best["GPT-Rank"]
    assert [point["size"] for point in result["curve"]] == [25, 50, 100, 150]
    assert (tmp_path / "cost.png").read_bytes()[:4] == b"\x89PNG" and (tmp_path / "kept" / "router.json").is_file()
    assert record(capsys, *words)["lines"] == result["lines"], "the same seed, the same numbers"
    text = said(capsys, "replay", *STORED, "--metric", "rougeL", "--classifier", "knn:neighbours=[8]",
                "--costs", "abacus=1,atlas=1,scribe=2,chatter=4", "--cost_weight", 0.01)  # fmt: skip
    assert "oracle rougeL" in text and "cost" in text


def test_a_replay_beside_models_of_one_s_choice(here, capsys):
    shares = {}
    for ties in ("defined", "printed", "corrected"):
        result = record(capsys, "replay", *STORED, "--metric", "bertscore", "--against", "chatter", "--ties", ties)
        shares[ties] = [of(result, who)["≥ chatter"] for who in ("chatter", "atlas", "router")]
    assert [share[0] for share in shares.values()] == [1, 0, 0.5], "a choice of that very model"
    assert shares["defined"][1] == shares["printed"][1] >= shares["corrected"][1] > 0
    assert shares["corrected"][2] < shares["defined"][2]


def test_labels_by_a_metric_with_a_model_of_one_s_own(here, capsys, tmp_path):
    metric = "bertscore:model=data/embedded/base,layer=1"
    pair = ("--members", "expert_0_edges", "expert_2_weight")
    fit = record(capsys, "fit", *TASK, "--out", tmp_path / "mine", "--metric", metric, *pair, "--dev_limit", 40)
    assert (fit["metric"], fit["metric_given"]) == ("bertscore", metric)
    assert record(capsys, "eval", tmp_path / "mine", *TASK, "--test_limit", 20)["metric"] == "bertscore"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("replay", "nowhere.jsonl", STORED[1]), r"nowhere\.jsonl"),
        (("replay", *STORED, "--metric", "rank"), r"no stored score .*rank.*name one of these"),
        (("replay", *STORED, "--classifier", "forest"), r"classifier is 'forest', wanted one of knn"),
        (("replay", *STORED, "--classifier", "knn:k=3"), r"classifier knn has no option k; wanted "),
        (("replay", *STORED, "--classifier", "knn:k"), r"--classifier has 'k'; wanted NAME=VALUE"),
        (("replay", *STORED, "--costs", "abacus=1"), r"--costs is 'abacus=1'; wanted a number for each of abacus, "),
        (("replay", *STORED, "--cost_weight", 1), r"no costs are given; add --costs"),
        (("replay", *STORED, "--features", "hidden"), r"hidden need the base model, and none was given; .*use tfidf"),
        (("replay", *STORED, "--limit", 0), r"limit .* is 0; give at least 1"),
        (("fit", *TASK, "--out", "data"), r"--out data is there and was not written by this program"),
        (
            ("fit", *TASK, "--out", "new", "--members", "expert_9"),
            r"there is no member 'expert_9' in .*there are expert_0",
        ),
        (("fit", *TASK, "--out", "new", "--members", "expert_0_edges"), r"wanted two or more"),
        (("fit", *TASK, "--out", "new", "--metric", "taste"), r"--metric is 'taste'; wanted one of bleu"),
        (("fit", *TASK, "--out", "new", "--curve_plot", "curve.txt"), r"cannot be written to curve\.txt; .*\.png"),
        (
            ("replay", *STORED, "--against", "vicuna"),
            r"test.jsonl has no such model, only abacus, atlas, scribe, chatter",
        ),
        (("replay", *STORED, "--plot", "cost"), r"cannot be written to cost; wanted a name that ends in \.png"),
        (("eval", "data", *TASK), r"data holds no router; wanted a folder that"),
        (("ask", "data", "what"), r"data holds no router"),
    ],
)
def test_bad_input_is_one_line(here, words, message):
    with pytest.raises(UserError, match=message) as caught:
        route_program([str(word) for word in words])
    assert "\n" not in str(caught.value)


def test_an_empty_prompt_and_other_members_are_refused(here, fitted, tmp_path):
    with pytest.raises(UserError, match="the prompt is empty"):
        route_program(["ask", str(fitted), "  "])
    shutil.copytree("data/embedded/experts", tmp_path / "experts")
    shutil.copytree("data/embedded/base", tmp_path / "base")
    other, own = (tmp_path / "experts" / name for name in ("expert_0_edges", "expert_1_degree"))
    shutil.copy(other / "adapter_model.safetensors", own)
    with pytest.raises(UserError, match="fitted for other weights of expert_1_degree"):
        route_program(["eval", str(fitted), *TASK, "-i", str(tmp_path / "experts")])
