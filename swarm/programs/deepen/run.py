"""`h-swarm deepen run`: a config's questions answered by its models together (arXiv 2404.12715)."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.programs.deepen.batches import Answerer, AskedQuestion, chooser_of, with_artefact
from swarm.programs.deepen.deepen_options import (
    add_anchor_options,
    add_fusion_options,
    add_model_options,
    anchor_settings,
    check_counts,
    flat_settings,
    fusion_settings,
    needed_flags,
)
from swarm.programs.deepen.flags import DeepenFlags, add_flags, check_flags
from swarm.programs.deepen.matrix import say_unread
from swarm.programs.deepen.models import (
    artefact_folder,
    check_devices,
    check_model_folders,
    dtype_on,
    joined_names,
    languages_of,
    load_fusion_models,
    model_contents,
    named_languages,
)
from swarm.programs.deepen.published_config import DeepenConfig, read_published_config
from swarm.programs.deepen.published_data import Question, read_demos, read_questions, warn_of_shared
from swarm.programs.deepen.published_metrics import published_task
from swarm.programs.deepen.published_prompts import cut_generated, prompts
from swarm.programs.deepen.result_file import ResultFile, result_name, result_record
from swarm.programs.deepen.result_recipe import check_contents, check_recipe, write_recipe
from swarm.programs.deepen.unused_options import Way, check_unused
from swarm.programs.engine_choice import quieten_libraries
from swarm.programs.front_doors import DONE
from swarm.reports.progress_bar import ProgressBar

log = logging.getLogger(__name__)

CURE = "name another folder with -rsd, or delete the file"
SHOWN = (  # by --help; --help all has the others
    "config", "learning_rate", "updates", "weights", "mode", "processor", "split", "results", "limit", "batch",
    "space", "inverse",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("--config", type=Path, required=True, help="config of the published program")
    parser.add_argument("--artefact", type=Path, help="folder that `matrix` made (default: the config's)")
    add_flags(parser)
    add_asking(parser)


def add_asking(parser: argparse.ArgumentParser) -> None:
    """What runs and sweeps have in common, beside the published flags."""
    parser.add_argument("--limit", type=int, help="answer only the first questions")
    parser.add_argument("--options", nargs="+", metavar="TEXT", help="what may be answered under -lpm choice "
                        "(default: the letters of each record's choices)")  # fmt: skip
    add_model_options(parser)
    add_fusion_options(parser)
    add_anchor_options(parser)


@dataclass(frozen=True)
class AnswerJob:
    """All that is known before a model is loaded.

    Attributes:
      config, flags, settings: what is to be done; settings are those of the models that take part.
      paths: the models that take part: the main one alone where the fusion is off.
      questions: all of the split.
      asked: the questions as the models read them.
      limit: how many of them are to be answered.
    """

    config: DeepenConfig
    flags: DeepenFlags
    settings: FusionSettings
    paths: tuple[str, ...]
    questions: tuple[Question, ...]
    asked: tuple[AskedQuestion, ...]
    limit: int

    def recipe(self, dtypes: Sequence[str]) -> dict[str, Any]:
        """What the answers depend on."""
        return {
            "data": str(self.config.data(self.flags.split)),
            "questions": len(self.questions),
            "models": list(self.paths),
            "templates": [model.template for model in self.config.models[: len(self.paths)]],
            "dtypes": list(dtypes),
            "processor": self.flags.processor,
            "max_new_tokens": self.config.max_new_tokens,
            "options": [list(own) for own in dict.fromkeys(asked.options for asked in self.asked)],
            **flat_settings(self.settings),
            **named_languages(self.config.models[: len(self.paths)]),
        }


def program(options: argparse.Namespace) -> int:
    """Answers what is not answered yet, and says where and how much."""
    check_counts(options, ("limit", "batch"))
    job = read_job(options)
    devices, step = check_devices(job.flags.devices, job.flags.device)
    dtypes = [str(dtype_on(place, options.dtype)).removeprefix("torch.") for place in devices[: len(job.paths)]]
    check_model_folders(job.paths)
    path = results_folder(job) / result_name(job.flags.learning_rate, job.flags.updates)
    with ResultFile(path, job.questions, [asked.prompts[0] for asked in job.asked]) as file:
        check_recipe(path, job.recipe(dtypes), file.done, CURE)
        left = job.asked[file.done : job.limit]
        if not left:
            log.info("%s has all %d answers already", path, file.done)
            return DONE
        log.info("loading %s", ", ".join(job.paths))
        contents = model_contents(job.paths, bool(options.trust_remote_code))
        check_contents(path, contents, file.done, CURE)
        if file.done:
            log.info("%s has %d answers: going on with question %d", path, file.done, file.done + 1)
        else:
            write_recipe(path, job.recipe(dtypes), contents)
        quieten_libraries()
        languages = languages_of(job.config.models[: len(job.paths)])
        fusion_models = load_fusion_models(
            job.paths, devices, options.dtype, bool(options.trust_remote_code), languages
        )
        chooser = chooser_of(fusion_models, job.paths, job.settings, step, bool(options.trust_remote_code))
        answerer = Answerer(
            fusion_models, chooser, job.settings, job.flags.processor, job.config.max_new_tokens, options.batch
        )
        _answer(job, answerer, file, left)
    _say(path, answerer, len(left))
    return DONE


def read_job(options: argparse.Namespace) -> AnswerJob:
    """Config, flags, data and prompts, checked."""
    config = read_published_config(options.config)
    flags = check_flags(options, len(config.models), needed_flags(options))
    settings = fusion_settings(options, flags, config)
    check_unused(options, [Way(flags, settings)], len(config.models))
    questions = tuple(read_questions(config.data(flags.split)))
    asked = ask(config, flags, questions, options.options)
    limit = min(options.limit or len(questions), len(questions))
    if flags.split == "test":
        warn_of_shared(config.dev, questions[:limit])
    paths = tuple(model.path for model in config.models[: None if flags.fuses else 1])
    if not flags.fuses:
        settings = replace(settings, weights="uniform")
    else:
        say_unread(config.models)
        found = artefact_folder(config.models, config.path)
        settings = with_artefact(settings, options.artefact, found, bool(anchor_settings(options)))
    return AnswerJob(config, flags, settings, paths, questions, asked, limit)


def ask(
    config: DeepenConfig, flags: DeepenFlags, questions: Sequence[Question], options: Sequence[str] | None
) -> tuple[AskedQuestion, ...]:
    """The questions as the models read them; UserError for a choice without options, or fields that are missing."""
    demos = [demo.fields for demo in read_demos(config.demos)]
    asked = []
    for question in questions:
        own = tuple(options or question.choices) if flags.processor == "choice" else ()
        if flags.processor == "choice" and not own:
            raise UserError(
                f"{question.where} has no choices A, B, ...; -lpm choice needs them, or name all: --options yes no"
            )
        asked.append(AskedQuestion(tuple(prompts(config, question.fields, demos, question.where)), own))
    if flags.processor == "choice" and config.max_new_tokens > 1:
        stop = ", nor has early_stop_string_list" if config.stop else ""
        log.info("-lpm choice writes one option; max_new_tokens %d has no effect%s", config.max_new_tokens, stop)
    elif options and flags.processor != "choice":
        log.warning("--options without -lpm choice has no effect")
    return tuple(asked)


def results_folder(job: AnswerJob) -> Path:
    """The folder of -rsd, in which {task}, {rm}, {models} and {mode} are filled in."""
    text = str(job.flags.results)
    fields = {
        "rm": job.flags.split,
        "models": joined_names([model.path for model in job.config.models]),
        "mode": job.flags.mode,
    }
    if "{task}" in text:
        fields["task"] = published_task(str(job.config.data(job.flags.split)))
    for name, value in fields.items():
        text = text.replace(f"{{{name}}}", value)
    return Path(text)


def _answer(job: AnswerJob, answerer: Answerer, file: ResultFile, left: Sequence[AskedQuestion]) -> None:
    """Answers the rest; every answer is on the disk before it is counted."""
    done = file.done
    with ProgressBar("answers", job.limit, "questions", done) as bar:
        answerer.on_step = lambda: bar.show(file.done, f"{answerer.count.tokens} tokens")
        texts = answerer.answers(left)
        for question, asked, text in zip(islice(job.questions, done, None), left, texts, strict=False):
            prompt = asked.prompts[0]
            prediction = cut_generated(prompt, text, job.config.cutting)
            file.append(result_record(question, job.config.demo.fields, prompt, text, prediction))
            answerer.on_step()


def _say(path: Path, answerer: Answerer, answered: int) -> None:
    count, each = answerer.count, answerer.seconds / max(answerer.count.tokens, 1)
    log.info(
        "%d answers, %d tokens, %.1f ms each; %d of them chosen together, at most %.2g of a probability left out",
        answered, count.tokens, 1000 * each, count.fused, count.dropped,
    )  # fmt: skip
    for name, reason in count.left_out.items():
        log.warning("%s was left out for a part of the answers: %s", name, reason)
    log.info("results: %s", path)
