"""`h-swarm deepen order`: a config with its models by their dev score, the best one first (arXiv 2404.12715)."""

import argparse
import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm.data.tables import as_text, parse_json, read_data_file
from swarm.errors import UserError
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.token_choosers import MainAlone
from swarm.programs.deepen.batches import Answerer, AskedQuestion
from swarm.programs.deepen.deepen_options import add_model_options, check_counts
from swarm.programs.deepen.models import check_devices, check_model_folders, dtype_on, languages_of, load_fusion_models
from swarm.programs.deepen.published_config import DeepenConfig, ModelEntry, model_keys, read_published_config
from swarm.programs.deepen.published_data import Question, read_demos, read_questions
from swarm.programs.deepen.published_metrics import TASKS, Scores, published_task, score
from swarm.programs.deepen.published_prompts import cut_generated, prompts
from swarm.programs.deepen.result_file import result_record
from swarm.programs.engine_choice import quieten_libraries
from swarm.programs.front_doors import DONE
from swarm.reports.progress_bar import ProgressBar
from swarm.storage.files import write_json

log = logging.getLogger(__name__)

_BY_MODEL = {"model_path": "_path", "probability_transfer_matrix_path": "_path", "prompt_template": "_system_template",
             "target_language": ""}  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("--config", type=Path, required=True, help="config of the published program")
    parser.add_argument("--out", type=Path, required=True, help="where the config with its models in order is written")
    parser.add_argument("--limit", type=int, help="ask only the first dev questions")
    parser.add_argument("--task", help=f"{', '.join(TASKS)} (default: what the data's name says)")
    parser.add_argument("-d0", dest="device", help="device of the models, one after the other (default: CUDA if any)")
    add_model_options(parser)


def program(options: argparse.Namespace) -> int:
    """Asks every model the dev questions, alone; writes the config anew, and shows the scores."""
    check_counts(options, ("limit", "batch"))
    config = read_published_config(options.config)
    data = config.data("dev")
    task = options.task or published_task(str(data))
    if task not in TASKS:
        raise UserError(f"--task is {task!r}; wanted one of {', '.join(TASKS)}")
    if options.out.resolve() == options.config.resolve() or options.out.is_dir():
        raise UserError(f"--out {options.out} is the config itself, or a folder: name a new file")
    questions = tuple(read_questions(data)[: options.limit])
    check_model_folders([model.path for model in config.models])
    quieten_libraries()
    scores = []
    with ProgressBar("dev", len(config.models) * len(questions), "answers") as bar:
        for index, model in enumerate(config.models):
            scores.append(_alone(config, index, model, questions, task, options, bar))
    order = sorted(range(len(scores)), key=lambda index: -scores[index].strict.mean)
    for place, index in enumerate(order):
        log.info("%d. %s: %s on %d dev questions of %s", place + 1, config.models[index].path, scores[index].strict,
                 len(questions), task)  # fmt: skip
    write_json(options.out, in_order(config, order))
    log.info("config: %s", options.out)
    return DONE


def in_order(config: DeepenConfig, order: Sequence[int]) -> dict[str, Any]:
    """The config's content with its models at these places: paths, matrices, templates and languages go along."""
    content: dict[str, Any] = parse_json(config.path, as_text(config.path, read_data_file(config.path)))
    names, found = model_keys(content["model_path"]), copy.deepcopy(content)
    for section, suffix in _BY_MODEL.items():
        for name, source in zip(names, order, strict=True):
            own = f"{name}{suffix}"
            found.get(section, {}).pop(own, None)
            if f"{names[source]}{suffix}" in content.get(section, {}):
                found[section][own] = content[section][f"{names[source]}{suffix}"]
    return found


def _alone(
    config: DeepenConfig,
    index: int,
    model: ModelEntry,
    questions: Sequence[Question],
    task: str,
    options: argparse.Namespace,
    bar: ProgressBar,
) -> Scores:
    """The scores of one model alone."""
    [place], _ = check_devices([options.device], None)
    dtype_on(place, options.dtype)
    loaded = load_fusion_models(
        [model.path], [place], options.dtype, bool(options.trust_remote_code), languages_of([model])
    )
    demos = [demo.fields for demo in read_demos(config.demos)]
    asked = [AskedQuestion((prompts(config, one.fields, demos, one.where)[index],), ()) for one in questions]
    settings = FusionSettings(stop=config.stop)
    answerer = Answerer(loaded, MainAlone(), settings, "deepen", config.max_new_tokens, options.batch)
    records = []
    for question, own, text in zip(questions, asked, answerer.answers(asked), strict=True):
        prediction = cut_generated(own.prompts[0], text, config.cutting)
        records.append(result_record(question, config.demo.fields, own.prompts[0], text, prediction))
        bar.show(bar.done + 1)
    return score(task, records)
