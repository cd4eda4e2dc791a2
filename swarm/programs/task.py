"""The task of the settings: eval, data and generation parameters, checked before any model is loaded."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from swarm.data.example import Dataset
from swarm.data.load import limit, load_dataset
from swarm.data.names import dataset_names
from swarm.engines.base import GenerationParams
from swarm.engines.sampling import Sampling, sampling_of
from swarm.errors import UserError
from swarm.evals import get_eval
from swarm.evals.eval import Eval
from swarm.evals.judges.budget import NO_WORK, JudgeUsage
from swarm.evolution.config import SearchConfig
from swarm.evolution.instruction_file import (
    PUBLISHED_INSTRUCTIONS,
    Instructions,
    check_nodes,
    read_instructions,
)
from swarm.programs.data_sources import source_of
from swarm.programs.joint_task import read_joint_eval, refuse_without_several
from swarm.programs.judge_choice import judge_maker
from swarm.values import pairs_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """The task: eval, dataset, generation parameters, and how nodes are asked."""

    config: SearchConfig
    evaluation: Eval
    dataset: Dataset
    params: GenerationParams
    instructions: Instructions = PUBLISHED_INSTRUCTIONS

    def check_scorer(self) -> None:
        """Raises UserError if the eval does not give the score that is to be maximised."""
        if self.config.scorer not in self.evaluation.scorers:
            raise UserError(
                f"--scorer is {self.config.scorer}, which eval {self.evaluation.name} does not give; wanted one of: "
                f"{', '.join(self.evaluation.scorers)} (--scorer)"
            )

    def for_nodes(self, nodes: int) -> "Task":
        """This task for graphs with so many nodes: every one gets a part of each context.

        Raises UserError if an example's context has fewer parts than that and parts may not be shared, or if an
        instruction is for a node beyond.
        """
        check_nodes(self.instructions, str(self.config.instructions), nodes)
        return replace(self, dataset=fit_chunks(self.dataset, nodes, self.config))


def read_task(config: SearchConfig, judged: JudgeUsage = NO_WORK) -> Task:
    """The eval and the data that the settings name, checked; `judged` is what earlier sittings asked of a judge."""
    judge, names = judge_maker(config, judged), dataset_names(str(config.dataset))
    evaluation: Eval
    if len(names) > 1:
        evaluation = joint = read_joint_eval(config, names, judge)
        dataset = joint.dataset
    else:
        evaluation = get_eval(str(config.eval_type), judge)
        dataset = limit(load_dataset(source_of(config, names[0])), config.dev_limit, config.test_limit)
        refuse_without_several(config, dataset)
    evaluation.check(dataset)
    usual = evaluation.params(dataset)
    chat = usual.chat if config.chat is None else config.chat
    sampling = given_sampling(config) or usual.sampling
    params = GenerationParams(config.max_new_tokens or usual.max_new_tokens, chat, config.paper_code, sampling)
    instructions = PUBLISHED_INSTRUCTIONS
    if config.instructions is not None:
        instructions = read_instructions(Path(config.instructions), evaluation, dataset)
    return Task(config, evaluation, dataset, params, instructions)


def given_sampling(config: SearchConfig) -> Sampling | None:
    """The sampling that the user has given, as "temperature=.7,top_k=50". Raises UserError for what is none."""
    if config.sampling is None:
        return None
    found: dict[str, float | int] = {}
    for name, value in pairs_of("--sampling", config.sampling):
        try:
            found[name] = int(value) if value.lstrip("-").isdecimal() else float(value)
        except ValueError:
            raise UserError(f"--sampling: {name} is {value!r}, wanted a number: mend it") from None
    return sampling_of("--sampling", found)


def fit_chunks(dataset: Dataset, nodes: int, config: SearchConfig) -> Dataset:
    """The dataset with contexts in as many parts as a graph has nodes, where the rules of the search ask for that.

    The published program gives the node at topological position i the chunk i: it stops where there are fewer chunks
    than nodes and never reads those beyond. Here more chunks are folded onto the nodes, and with `--share_chunks`
    fewer are shared by them; under paper-code those beyond are left away.
    """
    for split, examples in (("dev", dataset.dev), ("test", dataset.test)):
        for index, example in enumerate(examples):
            if 0 < len(example.chunks) < nodes and not config.share_chunks:
                raise UserError(
                    f"{dataset.name}: {split} record {index} has {len(example.chunks)} context_chunks for {nodes} "
                    "nodes; wanted one for each: use fewer experts, split the contexts finer, or let nodes share with "
                    "--share_chunks 1"
                )
    sizes = [len(example.chunks) for example in (*dataset.dev, *dataset.test)]
    many = sum(size > nodes for size in sizes)
    if not many:
        return dataset
    if not config.paper_code:
        log.info("%d contexts have more than %d chunks: nodes read several in a row", many, nodes)
        return dataset
    log.warning("%d contexts have more than %d chunks: those beyond are not read (paper-code)", many, nodes)
    dev, test = (
        tuple(replace(example, chunks=example.chunks[:nodes]) for example in examples)
        for examples in (dataset.dev, dataset.test)
    )
    return replace(dataset, dev=dev, test=test)
