"""Every setting of a search with its default, in one frozen value. Command lines, files and docs are made from it."""

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, get_args, get_type_hints

from swarm.errors import UserError
from swarm.evolution.names import BY_CANDIDATES, EVOLUTION, ONLY_SWARM, PAPER, PAPER_CODE, SWARM_NAME

# isort: off
from swarm.evolution.setting import (
    COMPUTE, DATA, ENGINES, EVERYWHERE, EXPERTS, GRAPHS, JUDGE, LIMITS, OPTIMIZER, POOL,
    RUN, SCORES, SCORING, SEARCH, SWARM, TASK, UNUSED, Setting, option,
)  # fmt: skip

# isort: on
from swarm.maths.choices import COMBINE, EDGES, END_RULES

if TYPE_CHECKING:
    from swarm.maths.decode import DecodeRule
    from swarm.maths.pso import MoveCoefficients, RestartRule

_TASK_OF_A_POOL = POOL - {"route ask"}
_JUDGED = SCORING | {"replay"}
_SEARCHING = frozenset({"search", "baselines"})
_ASKING = SCORING | {"ask"}


@dataclass(frozen=True)
class SearchConfig:
    """What a search does. Names and short forms of the published program's options are kept."""

    # fmt: off
    eval_type: str | None = option(None, TASK, "what scores an answer: exact_match, multiple_choice, abstainqa, "
                                   "gemini_match, maths_match, metric:NAME, reward:MODEL, lm_eval:TASK, "
                                   "path/to/file.py:name, or a plugin's; of several datasets a=NAME,b=NAME", short="e",
                                   common=True, path=True, trusted=True, resumable=True, metavar="EVAL")
    dataset: str | None = option(None, TASK, "name in --data_directory, path (json, jsonl, csv, parquet, folder) or "
                                 "hub id owner/name; several: a,b", short="d", common=True, path=True, resumable=True,
                                 metavar="DATASET")
    data_directory: str = option("data/eval", TASK, "where datasets lie, as <name>.json", path=True, resumable=True,
                                 metavar="FOLDER")
    compat: str | None = option(None, TASK, "paper: the paper's choices; paper-code: the published program's rules and "
                                "defaults where they change scores (docs/compat.md)", choices=(PAPER, PAPER_CODE),
                                used_by=_SEARCHING, with_system=True)
    instructions: str | None = option(None, TASK, "nodes' prompts in your own words (docs/instructions.md)", path=True,
                                      used_by=_SEARCHING, metavar="FILE.yml")
    plugin: str | None = option(None, TASK, "FILE.py[,FILE.py]: run first; what it registers can be named "
                                "(docs/extend.md)", path=True, trusted=True, resumable=True, used_by=ENGINES,
                                metavar="FILE.py")

    columns: str | None = option(None, DATA, "what the data calls our fields: question=problem,answer=solution",
                                 metavar="OURS=THEIRS")
    splits: str | None = option(None, DATA, "what the data calls dev and test: dev=validation,test=test",
                                metavar="OURS=THEIRS")
    hub_config: str | None = option(None, DATA, "configuration of a hub dataset, such as main", metavar="NAME")
    data_revision: str | None = option(None, DATA, "revision of a hub dataset", metavar="REVISION")
    dev_size: int | None = option(None, DATA, "rows drawn as dev where there are no splits; the rest are test", least=1)
    weights: str | None = option(None, DATA, "what each of several datasets counts: a=2,b=1 (default 1)",
                                 metavar="NAME=WEIGHT")
    at_least: str | None = option(None, DATA, "floors: a system whose mean on dev is lower cannot win: b=.6",
                                  metavar="NAME=SCORE")
    share_chunks: bool = option(False, DATA, "let nodes share context chunks where there are fewer chunks than nodes")

    judge_model: str | None = option(None, JUDGE, "what rates answers: gemini-..., a server's model, or a local model",
                                     path=True, with_system=True, metavar="MODEL")
    judge_url: str | None = option(None, JUDGE, "OpenAI-compatible server, such as http://localhost:8000/v1",
                                   trusted=True, resumable=True, metavar="URL")
    judge_at_once: int = option(8, JUDGE, "calls in flight at most", least=1, resumable=True, changes_results=False)
    judge_timeout: float = option(60.0, JUDGE, "seconds that a call may take", least=0, resumable=True,
                                  changes_results=False)
    judge_tokens: int = option(20, JUDGE, "tokens of a rating (published: 20); a model that thinks first needs more",
                               least=1, with_system=True)
    judge_refusal: str = option("stop", JUDGE, "a question that the judge refuses: stop, skip it for every system, or "
                                "give it the lowest rating", choices=("stop", "skip", "lowest"), with_system=True)
    judge_price: str | None = option(None, JUDGE, "price of a million tokens read and written, for --max_cost: 0.1,0.4",
                                     resumable=True, changes_results=False, metavar="READ,WRITTEN")

    optimizer: str = option(EVOLUTION, OPTIMIZER, "evolution, swarm (the paper's), swarm-local, cmaes, random, or a "
                            "plugin's name", aliases=("optimiser",), common=True, metavar="NAME")
    max_nodes: int | None = option(None, OPTIMIZER, "nodes of a graph at most (default: 3 more than there are members)",
                                   least=1, optimizers=BY_CANDIDATES)
    racing: bool = option(True, OPTIMIZER, "0: all candidates answer all of dev (ablation)", optimizers=BY_CANDIDATES)
    mixtures: bool | None = option(None, OPTIMIZER, "let experts at nodes be mixtures of the initial ones (default: 1, "
                                   "of random 0)", optimizers=BY_CANDIDATES)
    crossover: bool = option(True, OPTIMIZER, "0: no child has two parents (ablation)", optimizers=("evolution",))
    learn_moves: bool = option(True, OPTIMIZER, "0: moves stay as likely (ablation)", optimizers=("evolution",))
    graph: str = option("chain", OPTIMIZER, "graph whose experts cmaes moves: chain, star, or a found system's folder",
                        path=True, optimizers=("cmaes",), metavar="GRAPH")
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
    step_length_factor: float = option(1.0, SWARM, "step lengths are multiplied by this after each iteration", least=0,
                                       only_with=("compat", None))
    minimum_step_length: float = option(0.1, SWARM, "and never fall below this", least=0)
    starting_velocity_mode: str = option("random", SWARM, "first velocity: towards a random particle, none, or towards "
                                         "the best one", choices=("random", "zero", "best"))
    restart_stray_particles: bool = option(False, SWARM, "send particles that found nothing for long to their best")
    restart_patience: float = option(0.5, SWARM, "how long, as a fraction of the patience", least=0)
    patience: int = option(6, SWARM, "stop after so many iterations without improvement", short="p", least=1)
    patience_on: str = option("best", SWARM, "improvement of what: the best system, or the best graph of a role step "
                              "alone", choices=("best", "graph"))
    max_iteration: int = option(20, SWARM, "iterations at most", short="m", least=0)
    dropK: float = option(0.0, SWARM, "chance that a step keeps the last scores of all particles instead of evaluating "
                          "them (Model Swarms)", least=0, most=1)
    dropN: float = option(0.0, SWARM, "the same chance, of each particle by itself", least=0, most=1)
    move_graphs: bool = option(True, SWARM, "0: graphs stay where they started (ablation)")
    move_experts: bool = option(True, SWARM, "0: experts stay where they started (ablation)")
    seed: int = option(0, SWARM, "of every random draw of the search", least=0, common=True, optimizers=())

    top_p: float = option(0.0, GRAPHS, "nucleus when a graph is decoded; 0 draws nothing, the paper uses 0.8", least=0,
                          most=1, optimizers=ONLY_SWARM)
    edges: str = option("tree", GRAPHS, "tree: a node tells one other (published program); bernoulli: several (paper)",
                        choices=EDGES, optimizers=ONLY_SWARM)
    clamp_adjacency: bool = option(False, GRAPHS, "take negative strengths for 0", optimizers=ONLY_SWARM)
    end_rule: str = option("softmax", GRAPHS, "which node ends a graph: softmax of 1 / strength, or the weakest sender",
                           choices=END_RULES, optimizers=ONLY_SWARM)
    thoughts: str = option("drop", GRAPHS, "what a model thinks aloud (<think> ...): drop it before other nodes and "
                           "evals read its answer, or keep it", choices=("drop", "keep"))
    credit_graph: str = option("ever", GRAPHS, "graph on which experts are credited: the best ever found, or the best "
                               "of this iteration", choices=("ever", "iteration"), optimizers=ONLY_SWARM)
    assignment_spread: float = option(1.0, GRAPHS, "chance that a node gets a random expert when experts are credited, "
                                      "instead of the one with which the graph was found good; 1 is published", least=0,
                                      most=1, optimizers=ONLY_SWARM)

    initial_expert_directory: str | None = option(None, EXPERTS, "folder of folders, adapters or full models (default: "
                                                  "initial_experts, or the embedded ones)", short="i", common=True,
                                                  path=True, resumable=True, metavar="FOLDER")
    composites: str | None = option(None, EXPERTS, "folder of composites (vote, mbr, fusion, router, blend) over the "
                                    "experts, beside those in -i", path=True, resumable=True, metavar="FOLDER")
    base_model: str | None = option(None, EXPERTS, "hub id or folder of the base (default: the adapters' own)",
                                    short="b", path=True, resumable=True, used_by=ENGINES, metavar="MODEL")
    combine: str = option("linear", EXPERTS, "how experts combine: A and B each (published), exactly in ΔW, or ΔW "
                          "truncated", choices=COMBINE)
    combine_rank: int | None = option(None, EXPERTS, "rank kept by --combine svd (default: the adapters')", least=1)
    populate_initial_experts: bool = option(False, EXPERTS, "breed children of random pairs of experts until there are "
                                            "--initial_experts_num", used_by=SEARCH, optimizers=ONLY_SWARM)
    initial_experts_num: int | None = option(None, EXPERTS, "how many experts move, bred ones included", least=3,
                                             used_by=SEARCH, only_with=("populate_initial_experts", True),
                                             optimizers=ONLY_SWARM)
    refresh_routers: int = option(0, EXPERTS, "every so many iterations fit routers again, on what their members have "
                                  "just answered; 0: never (docs/routing.md)", least=0, used_by=SEARCH,
                                  optimizers=ONLY_SWARM)

    scorer: str = option("strict", SCORES, "score that the search maximises, strict or compat; both are reported",
                         used_by=_TASK_OF_A_POOL, metavar="NAME")
    max_new_tokens: int | None = option(None, SCORES, "tokens per answer (default: the dataset's)", least=1,
                                        common=True)
    sampling: str | None = option(None, SCORES, "draw answers instead of taking the likeliest token each time: "
                                  "temperature=.7,top_p=.9,top_k=50,min_p=0,seed=1", used_by=_ASKING,
                                  metavar="NAME=VALUE")
    stop_strings: str | None = option(None, SCORES, """end an answer behind a text, or a JSON list: ["\\n\\n"]""",
                                      used_by=_ASKING, metavar="TEXT")
    system_message: str | None = option(None, SCORES, "what the chat template is told before the question",
                                        used_by=_ASKING, metavar="TEXT")
    chat_template_kwargs: str | None = option(None, SCORES, "what else it is given: enable_thinking=false, or JSON",
                                              used_by=_ASKING, metavar="NAME=VALUE")
    chat: bool | None = option(None, SCORES, "use the chat template (default: the dataset's)")
    dev_limit: int | None = option(None, SCORES, "use only the first so many dev examples", least=1, with_system=True,
                                   used_by=_TASK_OF_A_POOL, common=True)
    test_limit: int | None = option(None, SCORES, "use only the first so many test examples", least=1, with_system=True,
                                    used_by=_TASK_OF_A_POOL)

    max_generations: int | None = option(None, LIMITS, "end the search after so many calls (answers generated by one "
                                         "model; docs/search.md says what counts)", least=1, aliases=("max_calls",),
                                         common=True)
    max_tokens: int | None = option(None, LIMITS, "end the search after so many tokens, read and written", least=1)
    max_judge_calls: int | None = option(None, LIMITS, "never ask the judge more often, final scores included", least=1,
                                         used_by=_JUDGED)
    max_cost: float | None = option(None, LIMITS, "never pay the judge more, in the currency of --judge_price", least=0,
                                    used_by=_JUDGED)
    max_time: float | None = option(None, LIMITS, "end the search after so many seconds, loading included", least=0,
                                    common=True)
    strict_exit: bool = option(False, LIMITS, "exit code 3, not 0, where a limit ended the search", switch=True)

    engine: str = option("transformers", COMPUTE, "what generates", choices=("transformers",), formerly={
        "in_process": {"engine": "transformers", "executor": "local"},
        "ray": {"engine": "transformers", "executor": "ray"}})
    executor: str = option("local", COMPUTE, "where it runs: this machine, or a Ray cluster", choices=("local", "ray"))
    ray_address: str | None = option(None, COMPUTE, "HOST:PORT of its head (default: RAY_ADDRESS, or the one here)",
                                     trusted=True, only_with=("executor", "ray"), metavar="HOST:PORT")
    ray_cores: int | None = option(None, COMPUTE, "cores of a worker there (default: a GPU, else one core)", least=1,
                                   only_with=("executor", "ray"))
    gpus: str | None = option(None, COMPUTE, "CUDA devices: 0,1 for a worker on each, 0+1 for one on both; or cpu "
                              "(default: the first, or cpu)", short="g", common=True, used_by=EVERYWHERE, metavar="IDS")
    device_map: str | None = option(None, COMPUTE, "which layer lies on which device of -g 0+1 (default: evenly)",
                                    path=True, metavar="FILE.json")
    workers: int | None = option(None, COMPUTE, "workers: one per CUDA device, or sharing the cores", least=1)
    worker_timeout: float = option(600.0, COMPUTE, "seconds without an answer until a worker is replaced", least=1)
    dtype: str | None = option(None, COMPUTE, "number format (default: bfloat16 where a GPU has it, else float32)",
                               choices=("float32", "bfloat16", "float16"), with_system=True, changes_results=True)
    token_budget: int | None = option(None, COMPUTE, "tokens held at a time (default: by memory)", least=1)
    fold: bool | None = option(None, COMPUTE, "add adapters to the base's own weights, which is faster and in half "
                               "precision less exact (default: in float32 only)", with_system=True,
                               changes_results=True)
    no_cache: bool = option(False, COMPUTE, "neither use nor keep texts of other runs on this machine", switch=True)
    ask_ahead: bool = option(False, COMPUTE, "ask what the next role step will ask beside the weight step, which keeps "
                             "many workers busier; the numbers stay the same", switch=True, used_by=SEARCH,
                             optimizers=ONLY_SWARM)
    cache_size: int = option(2000, COMPUTE, "megabytes of disk that kept texts may take; the oldest go first", least=1)
    trust_remote_code: bool = option(False, COMPUTE, "run code that comes with the base model", trusted=True)

    name: str | None = option(None, RUN, "run name: the run is search/<name> (default: a fresh name)", short="n",
                              common=True, resumable=False, metavar="NAME")
    tracker: str = option("wandb", RUN, "where numbers go: wandb, or a plugin's name", metavar="NAME")
    wandb: str = option("auto", RUN, "auto is online where there is a login and disabled otherwise",
                        choices=("auto", "online", "offline", "disabled"))
    project_name_wb: str = option("search", RUN, "wandb project (WANDB_PROJECT goes first)", metavar="NAME")

    no_answers: bool = option(False, RUN, "do not keep what was answered (best/answers.jsonl)", switch=True)
    with_answers: bool = option(False, RUN, "send them, with questions and right answers, to the tracker, too",
                                switch=True)

    fast_merge: bool = option(False, UNUSED, "experts are combined in memory in any case")
    num_cpu_when_merging: int = option(1, UNUSED, "a move of coefficients needs no processes")
    clean_up_on_end: bool = option(True, UNUSED, "nothing is left to clean up")
    starting_test_set_eval: bool = option(False, UNUSED, "test is read once, at the end")
    to_visualize: bool = option(False, UNUSED, "pictures are always made")
    correctness_emergence: bool = option(False, UNUSED, "unused there, too")
    # fmt: on
    @property
    def by_candidates(self) -> bool:
        """Whether an optimizer proposes candidates; else it is the paper's swarm, with its own steps."""
        return self.optimizer != SWARM_NAME

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
    def move_coefficients(self) -> "MoveCoefficients":
        """Of both swarms."""
        from swarm.maths.pso import MoveCoefficients

        repel = self.repel_coeff if self.repel_term else 0.0
        return MoveCoefficients(self.inertia, self.cognitive_coeff, self.social_coeff, repel, self.weight_randomness)

    @property
    def restart_rule(self) -> "RestartRule":
        """Of both swarms."""
        from swarm.maths.pso import RestartRule

        return RestartRule(self.patience, self.restart_patience, self.restart_stray_particles)

    @property
    def decode_rule(self) -> "DecodeRule":
        """How a matrix becomes a graph."""
        from swarm.maths.decode import DecodeRule

        renormalise = "softmax" if self.paper_code else "ordinary"
        return DecodeRule(self.top_p, self.edges, renormalise, self.clamp_adjacency, self.end_rule, self.paper_code)

    @property
    def drops_thoughts(self) -> bool:
        """Whether what a model thinks aloud is dropped before its answer is read."""
        return self.thoughts == "drop"

    @property
    def decay(self) -> float:
        """Factor of the step lengths; the published program parses it and never applies it."""
        return 1.0 if self.paper_code else self.step_length_factor


@cache
def settings() -> dict[str, Setting]:
    """Every setting by name, with its default and the types of its values, of which NoneType is the last."""
    kinds = {name: get_args(kind) or (kind,) for name, kind in get_type_hints(SearchConfig).items()}
    return {
        each.name: replace(each.metadata["setting"], name=each.name, default=each.default, kinds=kinds[each.name])
        for each in fields(SearchConfig)
    }


def settings_of(command: str) -> list[Setting]:
    """The settings that a command takes."""
    return [setting for setting in settings().values() if command in setting.used_by]
