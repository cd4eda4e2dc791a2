"""The command line: the published options by name, defaults, compatibility, and refusals."""

import re

import pytest

from swarm.errors import UserError
from swarm.evolution.checked_config import chosen_optimizer, config_of_run, defaults, make_config, unused_but_given
from swarm.evolution.command_line import parse
from swarm.evolution.config import SearchConfig, settings
from swarm.evolution.names import PAPER_RANGES

TASK = {"eval_type": "exact_match", "dataset": "gsm8k"}

PUBLISHED = """-n --name -e --eval_type -d --dataset -g --gpus --graph_num --num_cpu_when_merging --inertia
--cognitive_coeff --social_coeff --repel_coeff --step_length -p --patience -m --max_iteration --weight_randomness
-i --initial_expert_directory -b --base_model --fast_merge --project_name_wb --starting_velocity_mode --repel_term
--restart_stray_particles --restart_patience --clean_up_on_end --step_length_factor --minimum_step_length
--starting_test_set_eval --populate_initial_experts --initial_experts_num --to_visualize --correctness_emergence
--dropK --dropN""".split()


@pytest.mark.parametrize("flag", PUBLISHED)
def test_every_published_option_is_accepted(flag):
    value = {"--starting_velocity_mode": "random"}.get(flag, "1")
    given, _ = parse([flag, value])
    assert len(given) == 1


def test_the_published_starter_script_is_understood():
    line = (
        "-n nlgraph -e exact_match -d nlgraph -g 0,1,2,3,4 --inertia 0.1 --cognitive_coeff 0.5 --social_coeff 0.6 "
        "--repel_coeff 0.05 --step_length 0.7 -p 6 --fast_merge 1 --weight_randomness 1 "
        "--starting_velocity_mode random --repel_term 1 --step_length_factor 0.95 --restart_stray_particles 1 "
        "--restart_patience 0.67"
    )
    config = make_config(parse(line.split())[0])
    assert config.move_coefficients.repel == 0.05
    assert config.restart_rule.enabled and config.restart_rule.fraction == 0.67
    assert config.decay == 0.95
    assert unused_but_given(config) == ["fast_merge"]


def test_defaults():
    config = make_config(TASK)
    assert (config.patience, config.max_iteration, config.starting_velocity_mode) == (6, 20, "random")
    assert (config.graph_num, config.trial_num, config.scorer) == (10, 10, "strict")
    assert config.move_coefficients.repel == 0, "the repel term is off unless asked for"
    assert (config.inertia, config.cognitive_coeff, config.social_coeff, config.repel_coeff) == (0.4, 0.3, 0.3, 0.3)


def test_paper_code_brings_its_own_defaults_and_rules():
    config = make_config(TASK | {"compat": "paper-code", "step_length_factor": 0.95})
    assert (config.patience, config.max_iteration, config.scorer) == (10, 200, "compat")
    assert (config.credit_graph, config.patience_on) == ("iteration", "graph")
    assert config.decode_rule.strict and config.decode_rule.renormalise == "softmax"
    assert config.decay == 1 and unused_but_given(config) == ["step_length_factor"]
    assert make_config(TASK | {"compat": "paper-code", "patience": 6}).patience == 6, "what is given goes first"


def test_compat_paper_is_the_swarm_as_the_paper_has_it():
    drawn = [make_config(TASK | {"compat": "paper", "seed": seed}) for seed in range(30)]
    for config in drawn:
        assert (config.optimizer, config.top_p, config.edges, config.credit_graph) == (
            "swarm",
            0.8,
            "bernoulli",
            "ever",
        )
        assert (config.max_iteration, config.patience, config.scorer) == (20, 6, "strict")
        assert config.move_coefficients.repel == config.repel_coeff and config.decode_rule.renormalise == "ordinary"
        for name, choices in PAPER_RANGES.items():
            assert getattr(config, name) in choices
    assert len({(config.inertia, config.social_coeff, config.step_length) for config in drawn}) > 10
    assert drawn[3] == make_config(TASK | {"compat": "paper", "seed": 3}), "the same seed draws the same"
    assert make_config(TASK | {"compat": "paper", "inertia": 0.7}).inertia == 0.7, "what is given goes first"


def test_which_optimizer_a_search_has():
    for given, name, why in (
        ({}, "evolution", ""),
        ({"seed": 1, "max_calls": 9, "max_nodes": 3}, "evolution", ""),
        ({"max_iteration": 20}, "swarm", "--max_iteration: only the swarm has that"),
        ({"dropN": 0.1}, "swarm", "--dropN: only the swarm has that"),
        ({"compat": "paper-code"}, "swarm", "--compat paper-code is the swarm's"),
        ({"optimiser": "cmaes"}, "cmaes", ""),
        ({"optimizer": "random", "graph_num": 3}, "random", ""),
    ):
        assert chosen_optimizer(given) == (name, why)
        assert make_config(TASK | given).optimizer == name
    assert config_of_run(TASK, {}).optimizer == "swarm", "of a run that an earlier version began"
    assert config_of_run(TASK | {"optimizer": "evolution", "graph_num": 10}, {}).optimizer == "evolution"
    assert unused_but_given(make_config(TASK | {"optimizer": "random", "graph_num": 3})) == ["graph_num"]
    assert unused_but_given(make_config(TASK | {"optimizer": "swarm", "max_nodes": 3})) == ["max_nodes"]


def test_both_spellings_and_truth_values():
    given, mode = parse(["--dev-limit", "5", "--test_limit", "6", "--repel-term", "true", "--chat", "no", "--dry-run"])
    assert given == {"dev_limit": 5, "test_limit": 6, "repel_term": True, "chat": False}
    assert mode.dry_run and mode.resume is None


def help_text(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        parse(["--help", *words])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_names_the_settings_that_people_use_and_help_all_every_one_with_its_default(capsys):
    short, full = help_text(capsys), help_text(capsys, "all")
    for name, setting in settings().items():
        assert f"--{name}" in full and setting.help
        assert bool(re.search(rf"^ +(-\w \w+, )?--{name}\b", short, re.MULTILINE)) == setting.common, name
    assert 10 <= sum(setting.common for setting in settings().values()) <= 14
    assert "(default: 6; 10 with --compat paper-code)" in " ".join(full.split()) and "more options: --help all" in short
    assert max(map(len, (short + full).splitlines())) < 140


def test_help_of_something_else_is_an_error(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--help", "al"])
    assert ended.value.code == 2 and "--help al: wanted --help, or --help all" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--graph_num many", "argument --graph_num: 'many' is no whole number"),
        ("--edges star", "invalid choice: 'star'"),
        ("--repel_term maybe", "'maybe' is neither 0 nor 1"),
        ("--inertai=0.4", "unrecognized arguments: --inertai=0.4; did you mean --inertia?"),
        ("--iner=0.4", "unrecognized arguments: --iner=0.4"),
        ("--max-cals 3", "unrecognized arguments: --max-cals; did you mean --max_calls?"),
    ],
)
def test_unreadable_options_are_one_line(line, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(line.split())
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eval_type": None}, r"--eval_type \(-e\) is missing; for example"),
        ({"dataset": ""}, r"--dataset \(-d\) is missing"),
        ({"patience": 0}, "--patience is 0; wanted a number of at least 1"),
        ({"step_length": float("nan")}, "--step_length is nan; wanted a number of at least 0"),
        ({"dev_limit": 0}, "--dev_limit is 0; wanted a number of at least 1"),
        ({"graph_num": 1}, "--graph_num is 1; wanted at least 2, or --starting_velocity_mode zero"),
        ({"inertia": 0, "cognitive_coeff": 0, "social_coeff": 0}, "are all 0; wanted a positive one"),
        ({"top_p": 1.5}, "--top_p is 1.5; wanted at most 1"),
        ({"max_cost": 1.0}, "--max_cost needs the judge's price"),
        ({"compat": "papers"}, "--compat is 'papers'; wanted one of: paper, paper-code"),
        ({"compat": "paper", "optimizer": "evolution"}, "--compat paper is the swarm's"),
        ({"name": "a/b"}, "wanted a plain folder name"),
        ({"name": ".."}, "wanted a plain folder name"),
        ({"name": ""}, "wanted a plain folder name"),
        ({"paitence": 3}, "unknown setting 'paitence'"),
        ({"compat": "paper-code", "starting_velocity_mode": "zero"}, "stops the published program"),
        ({"compat": "paper-code", "edges": "bernoulli"}, "leave out --compat"),
    ],
)
def test_values_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        make_config(TASK | settings)


def test_every_default_passes_its_own_checks():
    assert make_config(TASK) == SearchConfig(**(defaults() | TASK))


def test_thoughts_are_dropped_in_runs_that_begin_now_only():
    task = {"eval_type": "exact_match", "dataset": "x"}
    assert make_config(task).drops_thoughts and not make_config(task | {"compat": "paper-code"}).drops_thoughts
    assert not config_of_run(task, {}).drops_thoughts, "of a run that began before there was a choice"
    assert config_of_run(task | {"thoughts": "drop"}, {}).drops_thoughts
