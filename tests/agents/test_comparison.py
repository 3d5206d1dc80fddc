"""The imagined-vs-real report says what the numbers say."""

import numpy as np
import pytest

from agents.comparison import as_table, compare_worlds, verdict
from agents.evaluate import Evaluation


def scored(mean, episodes=10, first_seed=0):
    return Evaluation(first_seed, tuple(float(mean + i % 2) for i in range(episodes)), (1000,) * episodes)


def report(gain, real=True):
    worlds = ("imagined", "real") if real else ("imagined",)
    return compare_worlds(
        {
            "random": {world: scored(1) for world in worlds},
            "PPO": {world: scored(1 + gain * (1 + (world == "imagined"))) for world in worlds},
        }
    )


def test_the_report_has_the_keys_that_others_read():
    found = report(gain=2)
    assert [row["name"] for row in found["policies"]] == ["random", "PPO"]
    for row in found["policies"]:
        assert set(row) == {"name", "imagined", "real"}
        assert set(row["real"]) == {"mean", "ci95", "episodes", "steps"}
    assert found["differences"][0]["real"]["mean"] == pytest.approx(2)
    assert found["differences"][0]["imagined"]["mean"] == pytest.approx(4)
    assert np.mean(found["episode_returns"]["PPO"]["real"]) == found["policies"][1]["real"]["mean"] == 3.5


@pytest.mark.parametrize(
    ("mean", "interval", "episodes", "says"),
    [
        (2.0, [0.5, 3.5], 10, "beats random: +2.00"),
        (2.0, [-0.1, 4.1], 10, "is not shown to differ from random: +2.00"),
        (-1.0, [-1.5, -0.5], 10, "is worse than random: -1.00"),
        (0.0, [0.0, 0.0], 10, "is not shown to differ from random"),
        (2.0, [0.5, 3.5], 5, "is not shown to differ from random"),
    ],
)
def test_the_verdict_follows_the_interval(mean, interval, episodes, says):
    assert says in verdict("PPO", "random", {"mean": mean, "ci95": interval, "episodes": episodes, "steps": 5})


def test_the_table_shows_both_worlds_and_the_verdict():
    lines = as_table(report(gain=2)).splitlines()
    assert lines[0] == "mean return of 1000 steps [95 % interval], episodes"
    assert lines[1].split() == ["imagined", "real"]
    assert lines[3].split()[0] == "PPO"
    assert "5.50 [" in lines[3]
    assert "3.50 [" in lines[3]
    assert lines[4].startswith("PPO - random")
    assert "beats" in lines[-1]


def test_each_policy_is_compared_with_each_before_it():
    scores = {"random": 0, "bursts": 1, "PPO": 5}
    found = compare_worlds({name: {"real": scored(mean)} for name, mean in scores.items()})
    assert [line.split(":")[0].removeprefix("In the real environment, ") for line in found["verdicts"]] == [
        "bursts beats random", "PPO beats random", "PPO beats bursts"
    ]  # fmt: skip
    assert "+4.00" in found["verdicts"][2]


def test_without_the_real_environment_nothing_is_claimed():
    table = as_table(report(gain=2, real=False))
    assert table.count("not measured") == 3
    assert "beats" not in table


def test_policies_of_other_episodes_are_not_compared():
    with pytest.raises(ValueError, match="the same episodes"):
        compare_worlds({"random": {"real": scored(1)}, "PPO": {"real": scored(1, first_seed=5)}})


def test_a_table_of_policies_that_were_only_measured_in_reality():
    runs = {name: {"real": Evaluation(0, (score,) * 6, (9,) * 6)} for name, score in (("one", 1.0), ("two", 3.0))}
    table = as_table(compare_worlds(runs))
    assert "mean return of 9 steps" in table
    assert "not measured" in table
    assert "two beats one: +2.00" in table


def test_the_title_is_true_of_all_policies_where_episodes_end_early():
    runs = {
        "one": {"imagined": Evaluation(0, (0.0,) * 2, (50, 40)), "real": Evaluation(0, (0.0,) * 2, (30, 28))},
        "two": {"imagined": Evaluation(0, (1.0,) * 2, (12, 12)), "real": Evaluation(0, (1.0,) * 2, (8, 8))},
    }
    title = as_table(compare_worlds(runs)).splitlines()[0]
    expected = "mean return of 8 to 45 steps (the mean of each policy in each world)"
    assert title == f"{expected} [95 % interval], episodes"


def test_a_difference_in_few_episodes_shows_nothing():
    """Four of twenty episodes are better and none worse: the bootstrap excludes zero, a sign test has p = 1/8."""
    runs = {name: {"real": Evaluation(0, returns, (9,) * 20)} for name, returns in (
        ("one", (0.0,) * 20), ("two", (1.0,) * 4 + (0.0,) * 16), ("three", (1.0,) * 6 + (0.0,) * 14))}  # fmt: skip
    found = compare_worlds(runs)
    assert [row["real"]["differ"] for row in found["differences"]] == [4, 6]
    assert found["differences"][0]["real"]["ci95"][0] > 0
    assert "two is not shown to differ from one" in found["verdicts"][0]
    assert "three beats one" in found["verdicts"][1]
