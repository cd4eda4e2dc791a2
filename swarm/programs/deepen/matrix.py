"""`h-swarm deepen matrix`: the anchors of several models, saved with what they were made from (arXiv 2404.12715)."""

import argparse
import logging
from pathlib import Path

from swarm.errors import UserError
from swarm.members.fusion.build import make_artefact, recognition, rows_of
from swarm.members.fusion.fusion_artefact import save_artefact
from swarm.members.fusion.loading import Lexicon
from swarm.programs.deepen.deepen_options import add_anchor_options, matrix_settings
from swarm.programs.deepen.models import artefact_folder, check_devices, check_model_folders, load_lexicons
from swarm.programs.deepen.published_config import ModelEntry, read_published_config
from swarm.programs.deepen.unused_options import check_unused_anchors
from swarm.programs.front_doors import DONE

log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("--config", type=Path, help="config of the published program, which names the models")
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="or the models themselves, the main one first")
    parser.add_argument("--out", type=Path, help="folder of the artefact (default: beside the config's matrices)")
    parser.add_argument("--dense", action="store_true", help="save all relative rows too: 4 V d bytes for each model")
    parser.add_argument("-dp", dest="device", help="device that works it out (default: CUDA where there is any)")
    parser.add_argument("--trust_remote_code", action="store_true", help="run Python code that comes with a model")
    add_anchor_options(parser)


def program(options: argparse.Namespace) -> int:
    """Makes and saves the artefact; tells where it is, its anchors, and how far main recognises the others."""
    paths, folder, entries = _what(options)
    settings = matrix_settings(options)
    check_unused_anchors(options, settings)
    check_model_folders(paths)
    _, device = check_devices([], options.device)
    say_unread(entries)
    log.info("reading tokenizers and embeddings of %s", ", ".join(paths))
    lexicons = [
        Lexicon(own.name, own.tokenizer, own.embeddings.to(device))
        for own in load_lexicons(paths, options.trust_remote_code)
    ]
    artefact = make_artefact(lexicons, settings, options.dense)
    save_artefact(folder, artefact)
    log.info("%d anchors of %d models (%s, %s)", len(artefact.anchors), len(paths), settings.keys, settings.anchors)
    rows = rows_of([own.embeddings for own in lexicons], artefact, settings)
    shares = recognition(lexicons, rows, artefact, settings)
    main, *others = artefact.members
    log.info("  %s: %d tokens", main.name, main.rows)
    for other, share in zip(others, shares, strict=True):
        log.info("  %s: %d tokens; of the common ones %s recognises %.2f", other.name, other.rows, main.name, share)
    log.info("artefact: %s", folder)
    return DONE


def say_unread(models: tuple[ModelEntry, ...]) -> None:
    """One line about matrices of the published program that are there."""
    there = [str(model.matrix) for model in models if model.matrix is not None and model.matrix.is_file()]
    if there:
        log.info("not read, since a .pth file can run code when it is loaded: %s", ", ".join(there))


def _what(options: argparse.Namespace) -> tuple[list[str], Path, tuple[ModelEntry, ...]]:
    """The models, the artefact's folder, and what the config says of the models."""
    if (options.config is None) == (options.models is None):
        raise UserError("matrix needs either --config conf.json or --models MODEL MODEL ...; give one of them")
    if options.config is not None:
        config = read_published_config(options.config)
        paths = [model.path for model in config.models]
        folder, entries = options.out or artefact_folder(config.models, config.path), config.models
    else:
        paths, entries = options.models, ()
        if options.out is None:
            raise UserError("matrix --models needs --out FOLDER, in which the artefact is saved")
        folder = options.out
    if len(paths) < 2:
        raise UserError(f"one model ({paths[0]}) has nothing to be compared with; name at least two")
    return paths, folder, entries
