"""The task of the settings: eval, data and generation parameters, checked before any model is loaded."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swarm.data.example import Dataset
from swarm.data.load import limit, load_dataset
from swarm.data.names import dataset_names
from swarm.engines.base import GenerationParams
from swarm.engines.overrides import Overrides, overrides_of, stop_strings_of_text
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
from swarm.values import kind_and_options, pairs_of

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
    params = with_users_own(replace(usual, second_bos=config.paper_code), config)
    if len(names) > 1 and config.chat is None and (params.system_message is not None or params.chat_template_kwargs):
        plain = [part.name for part in joint.parts if not part.evaluation.params(part.dataset).chat]
        if plain:
            log.warning("asked without the chat template, and so without what it is told: %s", ", ".join(plain))
    instructions = PUBLISHED_INSTRUCTIONS
    if config.instructions is not None:
        instructions = read_instructions(Path(config.instructions), evaluation, dataset)
    return Task(config, evaluation, dataset, params, instructions)


def with_users_own(params: GenerationParams, config: SearchConfig) -> GenerationParams:
    """The parameters with the user's length, chat template, sampling and so on, where these are given.

    Raises UserError for a value that cannot be, and for what only a chat template takes where there is to be none.
    """
    most = config.max_new_tokens or params.max_new_tokens
    chat = params.chat if config.chat is None else config.chat
    params = replace(params, max_new_tokens=most, chat=chat, **given_overrides(config).given())
    if params.idle:
        raise UserError(
            f"{params.idle[0]} is for the chat template, and answers are asked without here: leave it out, or give "
            "--chat 1"
        )
    return params


def given_overrides(config: SearchConfig) -> Overrides:
    """The user's sampling, stop strings, system message and arguments of the chat template. Raises UserError."""
    found: dict[str, Any] = {}
    if config.sampling is not None:
        found["sampling"] = dict(_numbers("--sampling", config.sampling))
    if config.stop_strings is not None:
        found["stop_strings"] = stop_strings_of_text("--stop_strings", config.stop_strings)
    if config.system_message is not None:
        found["system_message"] = config.system_message
    if config.chat_template_kwargs is not None:
        found["chat_template_kwargs"] = _arguments("--chat_template_kwargs", config.chat_template_kwargs)
    return overrides_of("--", found)


def _numbers(option: str, text: str) -> Iterator[tuple[str, float | int]]:
    for name, value in pairs_of(option, text):
        try:
            yield name, int(value) if value.lstrip("-").isdecimal() else float(value)
        except ValueError:
            raise UserError(f"{option}: {name} is {value!r}, wanted a number: mend it") from None


def _arguments(option: str, text: str) -> Any:
    """The arguments in an option's value: enable_thinking=false,effort=low, or a JSON object."""
    if not text.startswith("{"):
        return kind_and_options(option, f":{text}")[1]
    try:
        return json.loads(text)
    except ValueError:
        raise UserError(f"{option} is {text!r}, which begins as a JSON object and is none: mend it") from None


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
