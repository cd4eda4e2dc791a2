"""--dry-run refuses what the search would refuse, in the same line, and says what it could not look at."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from loopback_hub import COMMIT
from safetensors.torch import load_file, save_file
from scorers import make_classifier, make_fuser
from tiny import change_json, make_base, make_models, make_pool

from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.members.members import read_members
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.hidden_states import HiddenSettings
from swarm.members.routing.router_artefact import save_router
from swarm.members.routing.routing_engine import language_model_of
from swarm.programs import front_doors
from swarm.programs.search import search_program

WORDS = ("red", "green", "blue", "yes", "no", "one")
PROMPTS = [f"what is {word}" for word in WORDS] + [f"{word} two" for word in WORDS]
TASK = "-e exact_match -d words.json --graph_num 2 --trial_num 2 -m 0".split()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Adapters with their base, full models, adapters that reach into embeddings or are DoRA, and a router."""
    root = tmp_path_factory.mktemp("made")
    make_pool(root / "lora")
    make_pool(root / "embedded", target_modules=["embed_tokens", "q_proj"])
    make_pool(root / "dora", use_dora=True)
    make_models(root / "full")
    make_base(root / "other_family", family="gpt2")
    make_classifier(root / "ranker")
    make_fuser(root / "fuser")
    members = read_members(root / "lora" / "experts")
    scores = np.eye(3)[[0] * len(WORDS) + [1] * len(WORDS)]
    digests = [member.digest for member in members.initial()]
    router = fit_router(PROMPTS, scores, members.names, RouterSettings(), np.random.default_rng(0), digests)
    save_router(root / "router", router)
    rows = [{"question": f"what is {word}", "answer": "red", "id": word} for word in WORDS]
    (root / "words.json").write_text(json.dumps({"dev": rows[:3], "test": rows[3:]}))
    return root


@pytest.fixture
def workdir(made, tmp_path, monkeypatch):
    """A copy of it, to be broken."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words, capsys):
    """Exit code, and what went to the screen and to its error stream."""
    capsys.readouterr()
    code = front_doors.guarded(lambda: search_program([str(word) for word in words]))
    out, err = capsys.readouterr()
    return code, out, "".join(line for line in err.splitlines(True) if not line.startswith("warning: "))


def refused_alike(words, capsys, message):
    search, dry = (run([*TASK, *words, *more], capsys) for more in ((), ("--dry-run",)))
    assert (search[0], dry[0]) == (2, 2), dry[1]
    assert dry[2] == search[2] and dry[2].count("\n") == 1
    assert message in dry[2], dry[2]
    assert "upper bounds" not in dry[1]
    assert not list(Path("search").iterdir() if Path("search").exists() else [])


def change_tensor(folder, name, change):
    [file] = folder.glob("*model.safetensors")
    tensors = load_file(file)
    found = next(key for key in tensors if name in key)
    tensors[found] = change(tensors[found]).contiguous()
    save_file(tensors, file, {"format": "pt"})


def to_nan(tensor):
    return torch.full_like(tensor, torch.nan)


def composite(folder, **record):
    folder.mkdir(parents=True)
    (folder / "node.json").write_text(json.dumps(record))


def experts(pool, *more):
    return ["-i", f"{pool}/experts", *more]


FAULTS_OF_POOLS = {
    "a folder that is no expert": (lambda: Path("lora/experts/more").mkdir(), experts("lora"), "more is no expert"),
    "one expert": (
        lambda: [shutil.rmtree(f"lora/experts/expert_{i}") for i in (1, 2)],
        experts("lora"),
        "holds one expert (expert_0); a search needs at least 2",
    ),
    "no expert": (lambda: shutil.rmtree("lora/experts"), experts("lora"), "lora/experts is not there"),
    "two kinds": (
        lambda: shutil.copytree("full/experts/expert_0", "lora/experts/whole"),
        experts("lora"),
        "must be of one kind",
    ),
    "no weights": (
        lambda: Path("lora/experts/expert_1/adapter_model.safetensors").unlink(),
        experts("lora"),
        "adapter_model.safetensors missing",
    ),
    "damaged weights": (
        lambda: Path("lora/experts/expert_1/adapter_model.safetensors").write_bytes(b"x" * 99),
        experts("lora"),
        "is no readable safetensors file",
    ),
    "not a number": (
        lambda: change_tensor(Path("lora/experts/expert_1"), "q_proj.lora_A", to_nan),
        experts("lora"),
        "holds NaN or infinity",
    ),
    "another rank": (
        lambda: change_tensor(Path("lora/experts/expert_1"), "q_proj.lora_A", lambda tensor: tensor[:2]),
        experts("lora"),
        "must have the same ranks, shapes and number formats",
    ),
    "another scale": (
        lambda: change_json(Path("lora/experts/expert_1/adapter_config.json"), lambda c: c.update(lora_alpha=3)),
        experts("lora"),
        "lora_alpha is 3, but 8",
    ),
    "another base": (
        lambda: change_json(
            Path("lora/experts/expert_1/adapter_config.json"),
            lambda c: c.update(base_model_name_or_path="some/other"),
        ),
        experts("lora"),
        "have different base models",
    ),
    "a base that is not there": (
        lambda: shutil.rmtree("lora/base"),
        experts("lora"),
        "names the base model ../../base",
    ),
    "a base without config": (lambda: Path("lora/base/config.json").unlink(), experts("lora"), "has no config.json"),
    "a base without weights": (
        lambda: Path("lora/base/model.safetensors").unlink(),
        experts("lora"),
        "base model",
    ),
    "a base with damaged weights": (
        lambda: Path("lora/base/model.safetensors").write_bytes(b"x" * 99),
        experts("lora"),
        "cannot be loaded",
    ),
    "a base without tokenizer": (
        lambda: [path.unlink() for path in Path("lora/base").glob("*token*")],
        experts("lora"),
        "base model",
    ),
    "a base without their layers": (None, experts("lora", "-b", "other_family"), "which base model other_family does"),
    "experts that cannot be folded": (None, experts("embedded", "--fold", "1"), "the experts cannot be folded into"),
    "experts that combine linearly only": (None, experts("dora", "--combine", "exact"), "is a DoRA adapter"),
    "fewer bred than there are": (
        None,
        experts("lora", "--populate_initial_experts", "1", "--initial_experts_num", "3"),
        "--initial_experts_num is 3, but there are 3 experts already",
    ),
    "models in a base of another family": (None, experts("full", "-b", "other_family"), "base model other_family: "),
    "models that name no kind": (
        lambda: change_json(Path("full/experts/expert_1/config.json"), lambda c: c.pop("model_type")),
        experts("full"),
        "names no model_type",
    ),
    "models of other shapes": (
        lambda: change_tensor(Path("full/experts/expert_2"), "layers.0.self_attn.q_proj", lambda tensor: tensor[:2]),
        experts("full"),
        "must have the same ranks, shapes and number formats",
    ),
    "models with other vocabularies": (
        lambda: change_json(
            Path("full/experts/expert_1/tokenizer.json"),
            lambda c: c["model"]["vocab"].update(red=c["model"]["vocab"]["blue"], blue=c["model"]["vocab"]["red"]),
        ),
        experts("full"),
        "has another vocabulary",
    ),
    "models of which one is quantised": (
        lambda: change_json(
            Path("full/experts/expert_2/config.json"), lambda c: c.update(quantization_config={"bits": 4})
        ),
        experts("full"),
        "has a quantization_config",
    ),
    "a device that is not there": (None, experts("lora", "-g", "7"), "--gpus names device 7"),
}


@pytest.mark.parametrize("fault", FAULTS_OF_POOLS)
def test_pools(workdir, capsys, fault):
    damage, words, message = FAULTS_OF_POOLS[fault]
    if damage:
        damage()
    refused_alike(words, capsys, message)


MEMBERS = ["expert_0", "expert_1", "expert_2"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"type": "vote", "members": ["expert_0", "expert_9"]}, "names member 'expert_9', which the pool lacks"),
        ({"type": "poll", "members": MEMBERS}, "type is 'poll'; wanted one of: vote, mbr, fusion, router, blend"),
        ({"type": "vote", "members": ["expert_0", "mine"]}, "use each other in a circle"),
        ({"type": "fusion", "members": ["expert_0", {"model": "./nowhere"}]}, "model ./nowhere is not there"),
        ({"type": "fusion", "members": ["expert_0", {"model": "../../lora/experts"}]}, "has no config.json"),
        ({"type": "router", "members": MEMBERS, "classifier": "nowhere"}, "holds no router"),
        ({"type": "blend", "members": MEMBERS, "ranker": "../../made_up"}, "model ../../made_up is not there"),
        ({"type": "blend", "members": MEMBERS, "ranker": "../../lora/experts"}, "ranker: base model"),
        (
            {"type": "blend", "members": MEMBERS, "ranker": "../../ranker", "fuser": "../../lora/base"},
            "is no encoder-decoder but llama",
        ),
    ],
)
def test_composites(workdir, capsys, record, message):
    composite(workdir / "composites" / "mine", **record)
    refused_alike(experts("lora", "--composites", "composites"), capsys, message)


def test_a_router_of_other_weights(workdir, capsys):
    composite(workdir / "composites" / "mine", type="router", members=MEMBERS, classifier="../../router")
    words = experts("lora", "--composites", "composites")
    assert run([*TASK, *words, "--dry-run"], capsys)[0] == 0
    change_tensor(workdir / "lora/experts/expert_1", "q_proj.lora_A", lambda tensor: tensor + 1)
    refused_alike(words, capsys, "the classifier was fitted for other weights of expert_1")


def test_a_router_that_reads_with_a_base_that_full_models_do_not_have(workdir, capsys):
    members = read_members(workdir / "lora" / "experts")
    reader = language_model_of(InProcessEngine(members.pool))
    settings, scores = RouterSettings(HiddenSettings()), np.eye(3)[[0] * len(WORDS) + [1] * len(WORDS)]
    router = fit_router(PROMPTS, scores, members.names, settings, np.random.default_rng(0), (), reader)
    save_router(workdir / "reading", router)
    composite(workdir / "composites" / "mine", type="router", members=MEMBERS, classifier="../../reading")
    assert run([*TASK, *experts("lora", "--composites", "composites"), "--dry-run"], capsys)[0] == 0
    refused_alike(experts("full", "--composites", "composites"), capsys, "need the base model, and none was given")


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda c: c["dev"][1].update(answer=7), (), "words.json"),
        (lambda c: c["test"].clear(), (), "test"),
        (lambda c: None, ("-e", "multiple_choice"), "choices"),
        (lambda c: None, ("--refresh_routers", "1"), "no member is a router"),
    ],
)
def test_data_and_what_goes_with_it(workdir, capsys, change, words, message):
    change_json(workdir / "words.json", change)
    refused_alike([*experts("lora"), *words], capsys, message)


def test_a_judge_s_limit_is_told_beforehand(workdir, capsys):
    judged = ["-e", "gemini_match", "--judge_model", "m", "--judge_url", "http://127.0.0.1:9/v1"]
    code, _, err = run([*TASK, *experts("lora"), *judged, "--max_judge_calls", "4", "--dry-run"], capsys)
    assert code == 2 and "--max_judge_calls is 4, but the final scores alone have 12 questions" in err


@pytest.mark.parametrize("pool", ["lora", "dora", "embedded", "full"])
def test_what_would_run_is_priced_and_no_weight_is_in_memory(workdir, capsys, monkeypatch, pool):
    monkeypatch.setattr(InProcessEngine, "__init__", lambda *_: pytest.fail("a base is loaded"))
    monkeypatch.setattr("swarm.weights.materialise.materialise_all", lambda *_: pytest.fail("experts are made"))
    if pool == "full":
        change_tensor(workdir / "full/experts/expert_1", "lm_head", to_nan)  # only a search reads that
    code, out, err = run([*TASK, *experts(pool), "--dry-run"], capsys)
    assert (code, err) == (0, "") and "upper bounds" in out
    assert ("not looked at: the numbers in the models' files" in out) == (pool == "full")
    assert out.count("not looked at") == (pool == "full")


def test_what_is_not_on_this_machine_is_said(workdir, capsys):
    composite(workdir / "composites" / "fused", type="fusion", members=["expert_0", {"model": "nobody/nothing"}])
    composite(workdir / "composites" / "mixed", type="blend", members=MEMBERS, ranker="nobody/ranker")
    words = experts("lora", "-b", "nobody/base", "--composites", "composites", "--dry-run")
    code, out, err = run([*TASK, *words], capsys)
    assert (code, err) == (0, ""), err
    said = [line for line in out.splitlines() if line.startswith("not looked at: ")]
    assert [line.split(" is not on this machine")[0].removeprefix("not looked at: ") for line in said] == [
        "base model nobody/base",
        "model nobody/nothing of fused",
        "model nobody/ranker of mixed",
    ]


def test_a_base_of_the_hub_is_looked_at_where_it_is_here(workdir, capsys, monkeypatch):
    repository = workdir / "cache" / "models--some--base"
    snapshot = repository / "snapshots" / COMMIT
    for folder in ("blobs", f"snapshots/{COMMIT}", "refs"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workdir / "cache"))

    def fetched(file, source):
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        shutil.copy(source, repository / "blobs" / digest)
        (snapshot / file).symlink_to(repository / "blobs" / digest)

    words = experts("lora", "-b", "some/base", "--dry-run")
    fetched("config.json", workdir / "lora/base/config.json")
    code, out, _ = run([*TASK, *words], capsys)
    assert code == 0 and "not looked at: base model some/base is on this machine in part" in out
    for path in (workdir / "lora/base").iterdir():
        if path.name != "config.json":
            fetched(path.name, path)
    code, out, _ = run([*TASK, *words], capsys)
    assert code == 0 and "not looked at" not in out
    make_pool(workdir / "gpt2", family="gpt2")
    refused_alike(experts("gpt2", "-b", "some/base"), capsys, "which base model some/base does not have")
