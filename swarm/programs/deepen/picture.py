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

SHOWN = ("config", "models", "tokens", "own", "out", "rows", "clusters", "anchors", "anchor_count")  # by --help


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
    parser.add_argument("--own", nargs="+", default=[], metavar="TEXT",
                        help="further tokens, drawn for the models that have them: of one vocabulary only")  # fmt: skip
    parser.add_argument("--clusters", type=int, metavar="COUNT",
                        help="colour points by K-means over all models' tokens, instead of by token")  # fmt: skip
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
    drawn = tokens_of(lexicons, tokens, options.own, settings)
    points = representations(lexicons, drawn, settings, options.rows)
    if options.clusters is not None and not 2 <= options.clusters <= len(points):
        raise UserError(f"--clusters is {options.clusters}; wanted 2 to {len(points)}, the number of points")
    groups = clustered(points, options.clusters) if options.clusters else None
    labels = [(names_of(paths)[index], token) for index, token in drawn]
    draw_tokens(principal_plane(points), labels, picture, groups)
    log.info("picture: %s", picture)
    return DONE


Drawn = Sequence[tuple[int, str]]
"""Points of a picture: the index of a model, and a token that it has."""


def tokens_of(
    lexicons: Sequence[Lexicon], tokens: Sequence[str], own: Sequence[str], settings: FusionSettings
) -> list[tuple[int, str]]:
    """What is drawn, model by model: the tokens, which all models have, and of their `own` those that a model has.

    Raises UserError for one of the tokens that a model does not have, and for an own one that none has.
    """
    vocabularies = [read_vocabulary(each.tokenizer, each.name, settings.keys) for each in lexicons]
    places = range(len(vocabularies))
    there = {token: [place for place in places if _find(vocabularies[place], token) is not None] for token in own}
    for token, models in there.items():
        if not models:
            _id(vocabularies[0], token)
    return [
        (index, token)
        for index, vocabulary in enumerate(vocabularies)
        for token in dict.fromkeys([*tokens, *(token for token in own if index in there[token])])
        if _id(vocabulary, token) is not None
    ]


def clustered(points: np.ndarray, count: int) -> list[int]:
    """The cluster of each point by K-means of the points' directions, seeded. Raises UserError without scikit-learn."""
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise UserError('--clusters needs scikit-learn, which is missing: pip install "h-swarm[routing]"') from error
    unit = unit_rows(torch.from_numpy(points)).numpy()
    return [int(one) for one in KMeans(count, n_init=10, random_state=0).fit_predict(unit)]


def representations(lexicons: Sequence[Lexicon], drawn: Drawn, settings: FusionSettings, rows: bool) -> np.ndarray:
    """(points, d): the relative representations of tokens in their models.

    They are the cosines to the anchors, or with `rows` what a fusion makes of them.
    """
    vocabularies = [read_vocabulary(own.tokenizer, own.name, settings.keys) for own in lexicons]
    ids = [[_id(own, token) for index, token in drawn if index == place] for place, own in enumerate(vocabularies)]
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


def _find(vocabulary: Vocabulary, token: str) -> int | None:
    piece = token.replace(" ", "▁").encode()
    return vocabulary.ids.get((TEXT, token.encode()), vocabulary.ids.get((PIECE, piece)))


def _id(vocabulary: Vocabulary, token: str) -> int:
    found = _find(vocabulary, token)
    if found is None:
        with_blank = vocabulary.ids.get((TEXT, f" {token}".encode()))
        cure = f"it has {' ' + token!r}" if with_blank is not None else "take a shorter or more frequent word"
        raise UserError(f"{vocabulary.name} has no token {token!r}; {cure}")
    return found
