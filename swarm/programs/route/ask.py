"""`h-swarm route ask`: a prompt to the one member that the router picks."""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

from swarm.engines.base import params_of
from swarm.errors import UserError
from swarm.members.routing.router import Router, RouterChoice
from swarm.members.routing.router_artefact import load_router, read_router_facts
from swarm.programs.front_doors import DONE
from swarm.programs.route.evaluate_router import fitted_on, loaded, router_folder
from swarm.programs.route.member_scores import add_task_options, asked_by, config_of, read_chosen
from swarm.system.prompts import Query, node_prompt
from swarm.system.system import single

log = logging.getLogger(__name__)

SHOWN = (  # by --help; --help all has the others
    "only", "json", "any_weights", "max_new_tokens", "composites", "initial_expert_directory", "base_model", "gpus",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("router", type=Path, help="what `fit` has written")
    parser.add_argument("prompt", help="the question")
    parser.add_argument("--only", action="store_true", help="name the member, ask nobody")
    parser.add_argument("--any_weights", action="store_true", help="though the members are not as they were")
    parser.add_argument("--max_new_tokens", type=int, help="tokens of the answer (default: as it was fitted)")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    add_task_options(parser, task=False)


def program(options: argparse.Namespace) -> int:
    """Prints the member that was picked, and its answer."""
    folder = router_folder(options.router)
    facts = read_router_facts(folder)
    query = Query(options.prompt.strip())
    if not query.text:
        raise UserError("the prompt is empty; wanted a question")
    if options.only and facts["features"] != "hidden":
        router = load_router(folder)
        [choice] = router.choose([node_prompt(query, [])])
        return _show(options, router, choice, None)
    fitted = fitted_on(options.router)
    config = config_of(options, {name: fitted[name] for name in ("eval_type", "dataset")})
    members, chosen = read_chosen(config, facts["names"])
    params = params_of(fitted["params"])
    if options.max_new_tokens is not None:
        params = replace(params, max_new_tokens=options.max_new_tokens)
    with asked_by(config, members, chosen) as asked:
        router = loaded(folder, asked, options.any_weights)
        [choice] = router.choose([node_prompt(query, [])])
        if options.only:
            return _show(options, router, choice, None)
        [[answer]] = asked.scheduler.answer_all([(single(asked.chosen[choice.member]), [query])], params)
    return _show(options, router, choice, answer)


def _show(options: argparse.Namespace, router: Router, choice: RouterChoice, answer: str | None) -> int:
    name = router.names[choice.member]
    if options.json:
        record = {"member": name, "confidence": choice.confidence, "fell_back": choice.fell_back}
        log.info("%s", json.dumps(record if answer is None else record | {"answer": answer}))
        return DONE
    why = "; too unsure, so the best single member" if choice.fell_back else ""
    log.info("%s (confidence %.2f%s)", name, choice.confidence, why)
    if answer is not None:
        log.info("%s", answer)
    return DONE
