"""Every setting of a search with its default, in one frozen value. The command line is made from it (options.py)."""

import math
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, get_args, get_type_hints

from swarm.errors import UserError
from swarm.evolution.setting import (
    DATA,
    ENGINE,
    GRAPH,
    JUDGE,
    LIMITS,
    RECORD,
    SCORES,
    SWARM,
    TASK,
    UNUSED,
    WEIGHTS,
    option,
)  # fmt: skip
from swarm.maths.decode import EDGES, END_RULES, DecodeRule
from swarm.maths.pso import MoveCoefficients, RestartRule
from swarm.weights.pool import COMBINE

PAPER_CODE = "paper-code"
PAPER_CODE_DEFAULTS = {
    "patience": 10,
    "max_iteration": 200,
    "scorer": "compat",
    "credit_graph": "iteration",
    "patience_on": "graph",
}


@dataclass(frozen=True)
class SearchConfig:
    """What a search does. Names and short forms of the published program's options are kept."""

    # fmt: off
    name: str | None = option(None, TASK, "run name: the run is search/<name> (default: a fresh name)", short="n")
    eval_type: str | None = option(None, TASK, "what scores an answer: exact_match, multiple_choice, "
                                   "abstainqa, gemini_match, path/to/file.py:name, or an installed one", short="e")
    dataset: str | None = option(
        None, TASK, "name in --data_directory, path (json, jsonl, csv, parquet, folder) or hub id owner/name", short="d"
    )
    data_directory: str = option("data/eval", TASK, "where datasets lie, as <name>.json")
    columns: str | None = option(None, DATA, "what the data calls our fields: question=problem,answer=solution")
    splits: str | None = option(None, DATA, "what the data calls dev and test: dev=validation,test=test")
    hub_config: str | None = option(None, DATA, "configuration of a hub dataset, such as main")
    data_revision: str | None = option(None, DATA, "revision of a hub dataset")
    dev_size: int | None = option(None, DATA, "rows drawn as dev where there are no splits; the rest are test", least=1)
    share_chunks: bool = option(False, DATA, "let nodes share context chunks where there are fewer chunks than nodes")

    judge_model: str | None = option(None, JUDGE, "what rates answers: gemini-..., a server's model, or a local model")
    judge_url: str | None = option(None, JUDGE, "OpenAI-compatible server, such as http://localhost:8000/v1")
    judge_at_once: int = option(8, JUDGE, "calls in flight at most", least=1)
    judge_timeout: float = option(60.0, JUDGE, "seconds that a call may take", least=0)
    judge_tokens: int = option(20, JUDGE, "tokens of a rating (published: 20); a model that thinks first needs more",
                               least=1)
    judge_price: str | None = option(None, JUDGE, "price of a million tokens read and written, for --max_cost: 0.1,0.4")

    initial_expert_directory: str | None = option(
        None, TASK, "folder of folders, adapters or full models (default: initial_experts, or the embedded ones)",
        short="i",
    )
    composites: str | None = option(
        None, TASK, "folder of composites (vote, mbr, fusion, router, blend) over the experts, beside those in -i"
    )
    base_model: str | None = option(None, TASK, "hub id or folder of the base (default: the adapters' own)", short="b")
    compat: str | None = option(
        None, TASK, "paper-code: the published program's rules and defaults where they change scores (docs/compat.md)",
        choices=(PAPER_CODE,),
    )

    graph_num: int = option(10, SWARM, "graphs in the swarm (N)", least=1)
    trial_num: int = option(10, SWARM, "random assignments per weight step (M)", least=1)
    inertia: float = option(0.4, SWARM, "weight of the velocity in a move", least=0)
    cognitive_coeff: float = option(0.3, SWARM, "weight of the way to the personal best", least=0)
    social_coeff: float = option(0.3, SWARM, "weight of the way to the global best", least=0)
    repel_coeff: float = option(0.3, SWARM, "weight of the way from the global worst", least=0)
    repel_term: bool = option(False, SWARM, "use the repel term")
    weight_randomness: bool = option(True, SWARM, "multiply the weights by a fresh random number each")
    step_length: float = option(1.0, SWARM, "how far along its velocity a particle moves", least=0)
    weight_step_length: float | None = option(None, SWARM, "the same for experts (default: --step_length)", least=0)
    step_length_factor: float = option(1.0, SWARM, "step lengths are multiplied by this after each iteration", least=0)
    minimum_step_length: float = option(0.1, SWARM, "and never fall below this", least=0)
    starting_velocity_mode: str = option("random", SWARM, "first velocity: towards a random particle, none, or towards "
                                         "the best one", choices=("random", "zero", "best"))
    restart_stray_particles: bool = option(False, SWARM, "send particles that found nothing for long to their best")
    restart_patience: float = option(0.5, SWARM, "how long, as a fraction of the patience", least=0)
    patience: int = option(6, SWARM, "stop after so many iterations without improvement", short="p", least=1)
    patience_on: str = option("best", SWARM, "improvement of what: the best system, or the best graph of a role step "
                              "alone", choices=("best", "graph"))
    max_iteration: int = option(20, SWARM, "iterations at most", short="m", least=0)
    move_graphs: bool = option(True, SWARM, "0: graphs stay where they started (ablation)")
    move_experts: bool = option(True, SWARM, "0: experts stay where they started (ablation)")
    seed: int = option(0, SWARM, "of every random draw of the search", least=0)

    top_p: float = option(0.0, GRAPH, "nucleus when a graph is decoded; 0 draws nothing, the paper uses 0.8", least=0)
    edges: str = option("tree", GRAPH, "tree: a node tells one other (published program); bernoulli: several (paper)",
                        choices=EDGES)
    clamp_adjacency: bool = option(False, GRAPH, "take negative strengths for 0")
    end_rule: str = option("softmax", GRAPH, "which node ends a graph: softmax of 1 / strength, or the weakest sender",
                           choices=END_RULES)
    credit_graph: str = option("ever", GRAPH, "graph on which experts are credited: the best ever found, or the best "
                               "of this iteration", choices=("ever", "iteration"))

    assignment_spread: float = option(
        1.0, GRAPH, "chance that a node gets a random expert when experts are credited, instead of the one with which "
        "the graph was found good; 1 is published", least=0,
    )

    combine: str = option("linear", WEIGHTS, "how experts combine: A and B each (published), exactly in ΔW, or ΔW "
                          "truncated", choices=COMBINE)
    combine_rank: int | None = option(None, WEIGHTS, "rank kept by --combine svd (default: the adapters')", least=1)

    populate_initial_experts: bool = option(
        False, WEIGHTS, "breed children of random pairs of experts until there are --initial_experts_num"
    )
    initial_experts_num: int | None = option(None, WEIGHTS, "how many experts move, bred ones included", least=3)
    refresh_routers: int = option(0, WEIGHTS, "every so many iterations fit routers again, on what their members have "
                                  "just answered; 0: never (docs/routing.md)", least=0)

    scorer: str = option("strict", SCORES, "score that the search maximises, strict or compat; both are reported")
    max_new_tokens: int | None = option(None, SCORES, "tokens per answer (default: the dataset's)", least=1)
    chat: bool | None = option(None, SCORES, "use the chat template (default: the dataset's)")
    dev_limit: int | None = option(None, SCORES, "use only the first so many dev examples", least=1)
    test_limit: int | None = option(None, SCORES, "use only the first so many test examples", least=1)

    max_generations: int | None = option(None, LIMITS, "end the search after so many generations", least=1)
    max_tokens: int | None = option(None, LIMITS, "end the search after so many tokens, read and written", least=1)
    max_judge_calls: int | None = option(None, LIMITS, "never ask the judge more often, final scores included", least=1)
    max_cost: float | None = option(None, LIMITS, "never pay the judge more, in the currency of --judge_price", least=0)
    max_time: float | None = option(None, LIMITS, "end the search after so many seconds, loading included", least=0)
    strict_exit: bool = option(False, LIMITS, "exit code 3, not 0, where a limit ended the search with a result",
                               switch=True)

    engine: str = option("in_process", ENGINE, "on this machine, or a Ray cluster", choices=("in_process", "ray"))
    ray_address: str | None = option(None, ENGINE, "HOST:PORT of its head (default: RAY_ADDRESS, or the one here)")
    ray_cores: int | None = option(None, ENGINE, "cores of a worker there (default: a GPU, else one core)", least=1)
    gpus: str | None = option(None, ENGINE, "CUDA device ids, such as 0,1,2: a worker on each; or cpu; without it the "
                              "first one, or the CPU", short="g")
    workers: int | None = option(None, ENGINE, "workers: one per CUDA device, or sharing the cores", least=1)
    worker_timeout: float = option(600.0, ENGINE, "seconds without an answer until a worker is replaced", least=1)
    dtype: str | None = option(None, ENGINE, "number format (default: bfloat16 where a GPU has it, else float32)",
                               choices=("float32", "bfloat16", "float16"))
    token_budget: int | None = option(None, ENGINE, "tokens held at a time (default: by memory)", least=1)
    fold: bool | None = option(None, ENGINE, "add adapters to the base's own weights, which is faster and in half "
                               "precision less exact (default: in float32 only)")
    no_cache: bool = option(False, ENGINE, "neither use nor keep texts of other runs on this machine", switch=True)
    ask_ahead: bool = option(False, ENGINE, "ask what the next role step will ask beside the weight step, which keeps "
                             "many workers busier; the numbers stay the same", switch=True)
    cache_size: int = option(2000, ENGINE, "megabytes of disk that kept texts may take; the oldest go first", least=1)
    trust_remote_code: bool = option(False, ENGINE, "run code that comes with the base model")

    wandb: str = option("auto", RECORD, "auto is online where there is a login and disabled otherwise",
                        choices=("auto", "online", "offline", "disabled"))
    project_name_wb: str = option("search", RECORD, "wandb project (WANDB_PROJECT goes first)")

    fast_merge: bool = option(False, UNUSED, "experts are combined in memory in any case")
    num_cpu_when_merging: int = option(1, UNUSED, "a move of coefficients needs no processes")
    clean_up_on_end: bool = option(True, UNUSED, "nothing is left to clean up")
    starting_test_set_eval: bool = option(False, UNUSED, "test is read once, at the end")
    to_visualize: bool = option(False, UNUSED, "pictures are always made")
    correctness_emergence: bool = option(False, UNUSED, "unused there, too")
    dropK: float = option(0.0, UNUSED, "unused there, too")
    dropN: float = option(0.0, UNUSED, "unused there, too")

    # fmt: on

    @property
    def paper_code(self) -> bool:
        """Whether the published program's rules hold."""
        return self.compat == PAPER_CODE

    def population(self, experts: int) -> int:
        """How many experts move, where the pool has so many.

        Raises UserError if breeding is asked for and would make none.
        """
        if not self.populate_initial_experts:
            return experts
        wanted = self.initial_experts_num or 0
        if wanted <= experts:
            raise UserError(
                f"--initial_experts_num is {wanted}, but there are {experts} experts already; wanted more, or no "
                "--populate_initial_experts"
            )
        return wanted

    @property
    def move_coefficients(self) -> MoveCoefficients:
        """Of both swarms."""
        repel = self.repel_coeff if self.repel_term else 0.0
        return MoveCoefficients(self.inertia, self.cognitive_coeff, self.social_coeff, repel, self.weight_randomness)

    @property
    def restart_rule(self) -> RestartRule:
        """Of both swarms."""
        return RestartRule(self.patience, self.restart_patience, self.restart_stray_particles)

    @property
    def decode_rule(self) -> DecodeRule:
        """How a matrix becomes a graph."""
        renormalise = "softmax" if self.paper_code else "ordinary"
        return DecodeRule(self.top_p, self.edges, renormalise, self.clamp_adjacency, self.end_rule, self.paper_code)

    @property
    def decay(self) -> float:
        """Factor of the step lengths; the published program parses it and never applies it."""
        return 1.0 if self.paper_code else self.step_length_factor


@cache
def setting_kinds() -> dict[str, tuple[type, ...]]:
    """What each setting's value may be; NoneType comes last where it may be absent."""
    return {name: get_args(hint) or (hint,) for name, hint in get_type_hints(SearchConfig).items()}


def defaults(compat: str | None = None) -> dict[str, Any]:
    """Every setting's default, under this compatibility mode."""
    values = {f.name: f.default for f in fields(SearchConfig) if f.default is not MISSING}
    return values | (PAPER_CODE_DEFAULTS | {"compat": compat} if compat == PAPER_CODE else {})


def make_config(given: dict[str, Any]) -> SearchConfig:
    """A checked config from the settings that the user gave.

    Raises UserError for a name that is no setting, a missing one, or a value that cannot be.
    """
    known = {f.name: f for f in fields(SearchConfig)}
    if unknown := sorted(set(given) - set(known)):
        raise UserError(f"unknown setting {unknown[0]!r}; wanted one of: {', '.join(known)}")
    for name, kinds in setting_kinds().items():
        kinds = (*kinds, int) if float in kinds else kinds
        if name in given and not isinstance(given[name], kinds):
            raise UserError(f"--{name} is {given[name]!r}; wanted {' or '.join(kind.__name__ for kind in kinds)}")
    config = SearchConfig(**(defaults(given.get("compat")) | given))
    for name, setting in known.items():
        value, least, choices = getattr(config, name), setting.metadata["least"], setting.metadata["choices"]
        if value is not None and choices and value not in choices:
            raise UserError(f"--{name} is {value!r}; wanted one of: {', '.join(choices)}")
        if value is not None and least is not None and not (value >= least and math.isfinite(value)):
            raise UserError(f"--{name} is {value}; wanted a number of at least {least:g}")
    _check_together(config)
    return config


def unused_but_given(config: SearchConfig) -> list[str]:
    """Settings without effect that were given a value of their own, for a warning."""
    names = [
        f.name for f in fields(SearchConfig) if f.metadata["group"] == UNUSED and getattr(config, f.name) != f.default
    ]
    if config.initial_experts_num is not None and not config.populate_initial_experts:
        names.append("initial_experts_num")
    if config.paper_code and config.step_length_factor != 1:
        names.append("step_length_factor")
    names += [name for name in ("ray_address", "ray_cores") if config.engine != "ray" and getattr(config, name)]
    return names


def _is_plain(name: str) -> bool:
    return bool(name.strip()) and name[0] != "." and not set(name) & set("/\\\0") and len(name.encode()) <= 200


def _check_together(config: SearchConfig) -> None:
    for name, short in (("eval_type", "e"), ("dataset", "d")):
        if not getattr(config, name):
            raise UserError(f"--{name} (-{short}) is missing; for example: python search.py -e exact_match -d gsm8k")
    if config.name is not None and not _is_plain(config.name):
        raise UserError(
            f"--name is {config.name[:80]!r}; wanted a plain folder name of at most 200 bytes, no separators"
        )
    if "@" in (config.judge_url or "").partition("://")[2].partition("/")[0]:
        raise UserError("--judge_url holds a name or password, which would be kept with the run; use OPENAI_API_KEY")
    if config.max_cost is not None and config.judge_price is None:
        raise UserError("--max_cost needs the judge's price: --judge_price READ,WRITTEN per million tokens")
    if config.starting_velocity_mode == "random" and config.graph_num < 2:
        raise UserError("--graph_num is 1; wanted at least 2, or --starting_velocity_mode zero")
    move = config.move_coefficients
    if move.inertia + move.cognitive + move.social + move.repel <= 0:
        raise UserError("inertia, cognitive_coeff, social_coeff and repel_coeff are all 0; wanted a positive one")
    if config.populate_initial_experts and config.initial_experts_num is None:
        raise UserError("--populate_initial_experts needs --initial_experts_num: how many experts there shall be")
    for name in ("top_p", "assignment_spread"):
        if getattr(config, name) > 1:
            raise UserError(f"--{name} is {getattr(config, name)}; wanted at most 1")
    if config.paper_code and config.starting_velocity_mode != "random":
        raise UserError(
            f"--starting_velocity_mode {config.starting_velocity_mode} stops the published program "
            "(NotImplementedError); use random, or leave out --compat"
        )
    if config.paper_code and config.edges != "tree":
        raise UserError("--edges bernoulli is the paper's, not the published program's; leave out --compat")
