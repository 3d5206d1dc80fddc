"""Results of agents are found by what is in them, shown with their failures, and named where they are broken."""

import json
import re
from copy import deepcopy

import pytest

from agents.comparison import compare_worlds
from agents.evaluate import Evaluation
from agents.found_results import find_results
from agents.results_page import agreement_table, page

SHIPPED = "0123456789abcdef" * 4


def summary(mean, low, high, episodes=20, steps=500):
    return {"mean": mean, "ci95": [low, high], "episodes": episodes, "steps": steps}


def result_of(*policies, differences=True, **metrics):
    """Return a result of `(name, imagined, real, real difference)`s, the first of which is the baseline."""
    policies = deepcopy(policies)
    rows = [{"name": name, "imagined": imagined, "real": real} for name, imagined, real, _ in policies]
    metrics = {"policies": rows} | metrics
    if differences:
        metrics["differences"] = [{"name": name, "real": difference} for name, *_, difference in policies[1:]]
    config = {"world_model": SHIPPED[:16]}
    return {
        "experiment": "play",
        "config": config,
        "seed": 7,
        "minutes": 12.4,
        "commit": "abcdef0123",
        "metrics": metrics,
    }


RANDOM = ("random policy", summary(0.1, 0.0, 0.25), summary(0.2, 0.05, 0.4), None)
GOOD = ("good", summary(0.5, 0.25, 0.75), summary(1.25, 0.85, 1.65), summary(1.05, 0.6, 1.5))
SAME = ("same", summary(0.5, 0.25, 0.75), summary(0.3, 0.1, 0.5), summary(0.1, -0.1, 0.3))
WORSE = ("worse", summary(0.5, 0.25, 0.75), summary(0.0, 0.0, 0.0), summary(-0.2, -0.4, -0.05))
FEW = ("few", None, summary(2.0, 1.0, 3.0, episodes=3), summary(1.8, 1.0, 2.5, episodes=3))


@pytest.fixture
def show(tmp_path):
    """Write results into folders, and return the page and its table's cells, by run and agent."""

    def show(**results):
        for name, result in results.items():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "result.json").write_text(json.dumps(result))
        text = page(find_results(tmp_path), tmp_path, SHIPPED)
        lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| [")]
        return text, {(re.findall(r"\[(\w+)\]", run)[0], agent): cells for run, agent, *cells in lines}

    return show


def test_a_result_appears_with_its_numbers_and_its_plot(show, tmp_path):
    (tmp_path / "b_run").mkdir()
    (tmp_path / "b_run" / "returns.png").touch()
    training = {"steps": 12345, "minutes": 6.2}
    text, rows = show(
        b_run=result_of(RANDOM, GOOD, training=training, verdicts=["all is well"]), a_run=result_of(RANDOM)
    )
    assert [run for run, _ in rows] == ["a_run", "b_run", "b_run"]
    learned, world_model, seed, dream, real, against, minutes = rows["b_run", "good"]
    assert (learned, world_model, seed, minutes) == ("12,345 steps in dreams, 6 minutes", "shipped", "7", "12")
    assert (dream, real) == ("0.50 [0.25, 0.75], 20 x 500", "1.25 [0.85, 1.65], 20 x 500")
    assert against == "beats random policy: +1.05 [+0.60, +1.50]"
    assert rows["b_run", "random policy"][0] == "nothing"
    assert rows["b_run", "random policy"][5] == "baseline"
    folder = tmp_path.name
    assert f"[b_run]({folder}/b_run/result.json), [plot]({folder}/b_run/returns.png)" in text
    assert "- all is well" in text
    assert "seed 7, commit abcdef012." in text


def test_a_tree_that_was_changed_since_its_commit_is_told(show):
    for commit, told in (("abcdef01234567+", ", commit abcdef012+."), (None, ".")):
        text, _ = show(run=result_of(RANDOM) | {"commit": commit})
        assert f"`experiments/play.py`, seed 7{told}" in text


def test_failures_are_marked_and_counted(show):
    verdicts = [
        "In the real environment, same is not shown to differ from random policy: +0.10.",
        "x is worse than y: -1.",
    ]
    text, rows = show(run=result_of(RANDOM, GOOD, SAME, WORSE, FEW, verdicts=verdicts))
    assert rows["run", "same"][5] == "**is not shown to differ from** random policy: +0.10 [-0.10, +0.30]"
    assert rows["run", "worse"][5] == "**is worse than** random policy: -0.20 [-0.40, -0.05]"
    assert rows["run", "few"][5].startswith("**is not shown to differ from** random policy: +1.80")
    assert rows["run", "few"][3] == "not measured"
    assert "in reality: 4. They beat it: 1; not shown to differ: 2; worse: 1." in text
    assert "same **is not shown to differ from** random policy" in text
    assert "x **is worse than** y" in text


def test_what_was_not_compared_or_not_played_says_so(show):
    only_dreams = ("dreamer", summary(1.0, 0.5, 1.5), None, None)
    _, rows = show(compared=result_of(RANDOM, only_dreams), alone=result_of(RANDOM, GOOD, differences=False))
    assert rows["compared", "dreamer"][4:6] == ["not measured", "not compared"]
    assert {rows["alone", name][5] for name in ("random policy", "good")} == {"not compared"}


@pytest.mark.parametrize(
    ("config", "metrics", "expected"),
    [
        ({"recordings": ["somewhere/train", "explorer"]}, {"frames": 4321}, "4,321 recorded frames (train, explorer)"),
        (
            {"start_from": "runs/clone"},
            {"training": {"steps": 10, "minutes": 2}},
            "10 steps in dreams, 2 minutes, after clone",
        ),
        ({"critic": "runs/critic", "prior": None}, {"planning": {}}, "critic critic; plans in dreams"),
        ({"critic": None, "prior": "clone 0123"}, {"planning": {}}, "prior clone; plans in dreams"),
        ({"critic": "q 45", "prior": "clone 0123"}, {"planning": {}}, "critic q and prior clone; plans in dreams"),
        ({}, {"planning": {}}, "nothing; plans in dreams"),
        ({}, {}, "not said"),
        ({"policies": [{"name": "good", "scripted": "sticky", "bursts": 0.0}]}, {}, "nothing"),
        ({"policies": [{"name": "good@0.5", "scripted": "sticky"}, {"name": "good", "weights": "a"}]}, {}, "not said"),
    ],
)
def test_what_an_agent_learned_from_is_told_from_its_run(config, metrics, expected, show):
    result = result_of(RANDOM, GOOD, **metrics)
    result["config"] |= config
    assert show(run=result)[1]["run", "good"][0] == expected


def test_policies_beside_did_not_learn_in_the_run_and_are_not_counted(show):
    other = ("sticky", *SAME[1:])
    result = result_of(RANDOM, GOOD, other, ("PPO", *GOOD[1:]), training={"steps": 10, "minutes": 2})
    result["config"]["beside_are"] = {"good": {"weights": "0123456789"}, "sticky": {"scripted": "sticky"}}
    text, rows = show(run=result)
    assert rows["run", "good"][0] == "before this run (weights 01234567)"
    assert rows["run", "sticky"][0] == "nothing"
    assert rows["run", "PPO"][0] == "10 steps in dreams, 2 minutes"
    assert "in reality: 1. They beat it: 1; not shown to differ: 0; worse: 0." in text


def test_what_planners_are_compared_with_is_told_apart(show):
    names = ("prior alone", "tree planner with prior, without critic", "tree planner with prior and critic")
    policies = [(name, *GOOD[1:]) for name in names]
    result = result_of(RANDOM, *policies, planning={})
    result["config"] |= {"critic": "q 45", "prior": "clone 0123"}
    rows = show(run=result)[1]
    assert [rows["run", name][0] for name in names] == [
        "as clone did", "prior clone; plans in dreams", "critic q and prior clone; plans in dreams"
    ]  # fmt: skip


def test_another_world_model_is_told(show):
    result = result_of(RANDOM)
    result["config"]["world_model"] = "fedcba9876543210"
    assert show(run=result)[1]["run", "random policy"][1] == "another, fedcba98"


def test_results_of_other_things_are_no_agents(show):
    _, rows = show(run=result_of(RANDOM), speed={"metrics": {"rows": []}}, odd={})
    assert list(rows) == [("run", "random policy")]


def test_agreement_is_shown_as_far_as_it_was_measured():
    assert agreement_table(result_of(RANDOM)) is None
    plain = agreement_table(result_of(RANDOM, pearson_r=0.5, regret_at_1=None)).splitlines()
    assert plain[0] == "| measure | value |"
    assert plain[2] == "| Pearson r, at best 1 | 0.50 |"
    assert plain[3].endswith("| undefined: not said why |")
    ci95 = {"episodes": {"pearson_r": [0.25, 0.75], "spearman": None}}
    dropped = {"pearson_r": {"range": [0.4, 0.6], "without": ["a", "b"]}, "spearman": None}
    full = result_of(
        RANDOM, pearson_r=0.5, spearman=None, ci95=ci95, drop_one=dropped, undefined={"spearman": "all are the same"}
    )
    lines = agreement_table(full).splitlines()
    assert lines[0] == "| measure | value | 95 %, other episodes | without one policy |"
    assert lines[2] == "| Pearson r, at best 1 | 0.50 | 0.25 to 0.75 | 0.40 to 0.60 |"
    assert lines[3].endswith("| undefined: all are the same | undefined | undefined |")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda result: result["config"].pop("world_model"), "run/result.json has no world_model in config"),
        (lambda result: result.pop("seed"), "run/result.json has no seed in the result"),
        (lambda result: result["metrics"]["policies"][1].pop("name"), r"no name in metrics.policies\[1\]"),
        (lambda result: result["metrics"]["policies"][0]["real"].pop("ci95"), r"no ci95 in metrics.policies\[0\].real"),
        (lambda result: result["metrics"]["policies"].append({"name": "none"}), "has no imagined, real in metrics.pol"),
        (lambda result: result["metrics"].update(training={}), "has no steps, minutes in metrics.training"),
    ],
)
def test_a_broken_result_is_named(spoil, message, show):
    result = result_of(RANDOM, GOOD)
    spoil(result)
    with pytest.raises(ValueError, match=message):
        show(run=result)


def test_what_is_no_json_is_named(tmp_path):
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "result.json").write_text('{"metrics": ')
    with pytest.raises(ValueError, match=r"torn/result.json is no JSON"):
        find_results(tmp_path)


def test_old_verdicts_are_judged_anew(tmp_path):
    """A bootstrap excluded zero with four better episodes of twenty, and once that was called a success."""
    returns = {"random": (0.0,) * 20, "trained": (1.0,) * 4 + (0.0,) * 16}
    runs = {name: {"real": Evaluation(0, found, (9,) * 20)} for name, found in returns.items()}
    metrics = compare_worlds(runs) | {"verdicts": ["In the real environment, trained beats random."]}
    del metrics["differences"][0]["real"]["differ"]
    result = {"experiment": "e", "config": {"world_model": "w"}, "seed": 0, "minutes": 1.0, "metrics": metrics}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(json.dumps(result))
    found = find_results(tmp_path)["run"]["metrics"]
    assert "trained is not shown to differ from random" in found["verdicts"][0]
    assert found["policies"] == metrics["policies"]
