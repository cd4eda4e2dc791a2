"""Checks of generation parameters against those who are asked by them, before any model is loaded."""

from swarm.engines.base import GenerationParams
from swarm.members.members import Members
from swarm.members.vote import Ballot, asked_by


def check_asking(members: Members, params: GenerationParams) -> None:
    """Raises UserError for parameters by which members cannot be asked, as far as the base's tokenizer tells."""
    from swarm.engines.local.base_checks import check_template

    for each in _asked(members, params):
        check_template(members.pool, each)


def check_template_settings(members: Members, params: GenerationParams) -> None:
    """`check_asking` where something is to be told to the chat template, else nothing: most searches need not wait."""
    if any(each.system_message is not None or each.chat_template_kwargs for each in _asked(members, params)):
        check_asking(members, params)


def _asked(members: Members, params: GenerationParams) -> list[GenerationParams]:
    within = {name for one in members.composites for name in one.members}  # of whom the outer one decides
    votes = (one for one in members.composites if isinstance(one, Ballot) and one.name not in within)
    return list(dict.fromkeys([params, *(asked_by(vote, params) for vote in votes)]))
