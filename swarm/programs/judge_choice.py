"""The judge of the settings: a server, Gemini, or a local model; with its cache, limits and price."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

from swarm.engines.base import Engine
from swarm.errors import UserError
from swarm.evals.judges.budget import NO_WORK, JudgeLimits, JudgeUsage, Price
from swarm.evals.judges.client import Client
from swarm.evals.judges.gemini import GeminiClient
from swarm.evals.judges.judge import Judge
from swarm.evals.judges.local_judge import LocalClient
from swarm.evals.judges.openai_server import OpenAIClient
from swarm.evals.judges.refusals import RefusalPolicy
from swarm.evals.judges.reply_cache import ReplyCache, judge_cache_path
from swarm.evolution.config import SearchConfig
from swarm.programs.engine_choice import make_engine
from swarm.weights.base_model import base_folder
from swarm.weights.full_model import check_full_model
from swarm.weights.pool import Expert, model_pool


def judge_maker(config: SearchConfig, usage: JudgeUsage = NO_WORK) -> Callable[[], Judge]:
    """A factory of the judge of the settings, called once an eval needs it; `usage` is that of earlier sessions.

    Making it raises UserError if no judge is named or if its price cannot be read; nothing is loaded and nobody asked.
    """

    def make() -> Judge:
        limits = JudgeLimits(config.max_judge_calls, config.max_cost)
        price = _price(config.judge_price)
        policy = cast(RefusalPolicy, config.judge_refusal)
        cache = ReplyCache(judge_cache_path())
        return Judge(_client(config), cache=cache, limits=limits, price=price, usage=usage, on_refusal=policy)

    return make


def _client(config: SearchConfig) -> Client:
    if config.judge_model is None:
        raise UserError(
            f"eval {config.eval_type} needs a judge: --judge_model gemini-... (with GEMINI_API_KEY), a model of the "
            "server at --judge_url, or a local model's folder or hub id (docs/judges.md)"
        )
    limits = (config.judge_tokens, config.judge_at_once, config.judge_timeout)
    if config.judge_url is not None:
        return OpenAIClient(config.judge_url, config.judge_model, *limits)
    if config.judge_model.startswith(("gemini", "models/gemini")):
        return GeminiClient(config.judge_model, *limits)
    return LocalClient(config.judge_model, lambda: _load(config), config.judge_tokens, lambda: _find(config))


def _find(config: SearchConfig) -> None:
    """Raises UserError if there is no local model of that name."""
    try:
        folder = base_folder(str(config.judge_model))
    except UserError as error:
        raise UserError(
            f"judge model {config.judge_model!r} is no Gemini model, no local folder and not to be had from the hub; "
            "correct --judge_model, or name its server with --judge_url"
        ) from error
    if Path(str(config.judge_model)).is_dir():  # of a hub's model, the weights may be still to come
        check_full_model(folder)


def _load(config: SearchConfig) -> tuple[Engine, Expert]:
    pool = model_pool(str(config.judge_model))
    return make_engine(pool, replace(config, device_map=None)), pool.experts()[0]  # which is of the experts' base


def _price(text: str | None) -> Price | None:
    if text is None:
        return None
    try:
        read, written = (float(part) for part in text.split(","))
        if not (0 <= read < float("inf") and 0 <= written < float("inf")):
            raise ValueError
    except ValueError:
        raise UserError(
            f"--judge_price is {text!r}; wanted two numbers, per million tokens read and written, such as 0.1,0.4"
        ) from None
    return Price(read, written)
