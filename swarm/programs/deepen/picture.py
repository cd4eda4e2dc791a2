"""`h-swarm deepen picture`: tokens in the relative spaces of several models (arXiv 2404.12715, figure 1)."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from swarm.errors import UserError
from swarm.maths.relative import embedding_mean, relative_rows, unit_rows
from swarm.members.fusion.build import chosen_anchors
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.loading import Lexicon
from swarm.members.fusion.vocabulary import PIECE, TEXT, Vocabulary, read_vocabulary
from swarm.programs.deepen.deepen_figures import draw_tokens, principal_plane
from swarm.programs.deepen.deepen_options import add_anchor_options, matrix_settings
from swarm.programs.deepen.models import check_model_folders, load_lexicons, names_of
from swarm.programs.deepen.published_config import read_published_config
from swarm.programs.deepen.unused_options import check_unused_anchors
from swarm.programs.front_doors import DONE
from swarm.storage.files import check_own_file

log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("--config", type=Path, help="config of the published program, which names the models")
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="or the models themselves")
    parser.add_argument("--tokens", nargs="+", required=True, metavar="TEXT",
                        help='tokens that all models have, words with the blank before: " the" " cat"')  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("picture.png"), help="(default: picture.png)")
    parser.add_argument(
        "--rows",
        action="store_true",
        help="draw what a fusion makes of the cosines, where anchors are almost alone",
    )
    parser.add_argument("--trust_remote_code", action="store_true", help="run Python code that comes with a model")
    add_anchor_options(parser)


def program(options: argparse.Namespace) -> int:
    """Draws the tokens' relative representations in all models on their first two principal components."""
    if (options.config is None) == (options.models is None):
        raise UserError("picture needs either --config conf.json or --models MODEL MODEL ...; give one of them")
    paths = options.models or [model.path for model in read_published_config(options.config).models]
    settings = matrix_settings(options)
    check_unused_anchors(options, settings)
    if options.normalise is not None and not options.rows:
        log.warning("without effect here: --no_normalise (cosines are drawn; --rows draws what a fusion makes of them)")
    tokens = list(dict.fromkeys(options.tokens))
    if len(tokens) < 2:
        raise UserError(f"--tokens has only {tokens[0]!r}; wanted at least two, which can lie near or far")
    if options.out.is_dir():
        raise UserError(f"--out {options.out} is a folder; name a file, such as {options.out / 'picture.png'}")
    picture = options.out if options.out.suffix else options.out.with_suffix(".png")
    check_own_file(picture)
    check_model_folders(paths)
    lexicons = load_lexicons(paths, options.trust_remote_code)
    points = representations(lexicons, tokens, settings, options.rows)
    draw_tokens(principal_plane(points), names_of(paths), tokens, picture)
    log.info("picture: %s", picture)
    return DONE


def representations(
    lexicons: Sequence[Lexicon], tokens: Sequence[str], settings: FusionSettings, rows: bool
) -> np.ndarray:
    """(N · K, d): the relative representations of K tokens in each of N models, model by model.

    They are the cosines to the anchors, or with `rows` what a fusion makes of them.

    Raises UserError for a token that a model does not have.
    """
    vocabularies = [read_vocabulary(own.tokenizer, own.name, settings.keys) for own in lexicons]
    ids = [[_id(vocabulary, token) for token in tokens] for vocabulary in vocabularies]
    anchors = chosen_anchors(vocabularies, [own.embeddings for own in lexicons], settings)
    parts = []
    for own, wanted, columns in zip(lexicons, ids, anchors.ids, strict=True):
        chosen, anchor_rows = own.embeddings[wanted].float(), own.embeddings[columns].float()
        mean = embedding_mean(own.embeddings) if settings.centre else torch.zeros(chosen.shape[1])
        if rows:
            found = relative_rows(chosen, anchor_rows, settings.normalise, mean)
        else:
            found = unit_rows(chosen - mean) @ unit_rows(anchor_rows - mean).T
        parts.append(found.numpy())
    return np.concatenate(parts)


def _id(vocabulary: Vocabulary, token: str) -> int:
    piece = token.replace(" ", "▁").encode()
    found = vocabulary.ids.get((TEXT, token.encode()), vocabulary.ids.get((PIECE, piece)))
    if found is None:
        with_blank = vocabulary.ids.get((TEXT, f" {token}".encode()))
        cure = f"it has {' ' + token!r}" if with_blank is not None else "take a shorter or more frequent word"
        raise UserError(f"{vocabulary.name} has no token {token!r}; {cure}")
    return found
