"""Measures of agreement against closed forms, loops and scipy; their intervals and ranges; the report of them."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from agents.agreement import MEASURES, drop_one, intervals, measures, mmrv, pearson, ranks, regret_at_1, spearman
from agents.agreement_plot import plot_agreement
from agents.agreement_report import agreement, as_table
from agents.evaluate import Evaluation


def pairs(seed, policies=7, levels=4):
    """Return two sets of returns with ties, which are related but not equal."""
    rng = np.random.default_rng(seed)
    real = rng.integers(levels, size=policies).astype(float)
    return real + rng.integers(2, size=policies), real


def test_correlations_have_their_closed_forms():
    line = np.array([1.0, 2.0, 4.0])
    assert pearson(3 * line + 1, line) == pytest.approx(1)
    assert pearson(-line, line) == pytest.approx(-1)
    assert pearson(np.array([1.0, 0.0, 1.0]), np.array([0.0, 3.0, 6.0])) == pytest.approx(0)
    assert spearman(np.exp(line), line) == pytest.approx(1)
    assert ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [2.5, 1, 2.5, 4]


@pytest.mark.parametrize("seed", range(20))
def test_correlations_are_those_of_scipy_ties_included(seed):
    imagined, real = pairs(seed)
    assert pearson(imagined, real) == pytest.approx(stats.pearsonr(imagined, real).statistic)
    assert spearman(imagined, real) == pytest.approx(stats.spearmanr(imagined, real).statistic)
    assert ranks(real).tolist() == stats.rankdata(real).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_rank_violation_is_that_of_two_loops(seed):
    imagined, real = pairs(seed)
    worst = []
    for i in range(len(real)):
        worst.append(0.0)
        for j in range(len(real)):
            if (imagined[i] < imagined[j]) != (real[i] < real[j]):
                worst[-1] = max(worst[-1], abs(real[i] - real[j]))
    assert mmrv(imagined, real) == pytest.approx(np.mean(worst))


def test_rank_violation_is_what_is_at_stake_in_reality():
    real = np.array([1.0, 2.0, 7.0])
    assert mmrv(10 * real, real) == 0
    assert mmrv(np.array([2.0, 1.0, 7.0]), real) == pytest.approx((1 + 1 + 0) / 3)
    assert mmrv(-real, real) == pytest.approx((6 + 5 + 6) / 3)
    assert mmrv(np.zeros(3), real) == pytest.approx((6 + 5 + 0) / 3)  # a tie in dreams counts for the worse policy
    assert mmrv(real, np.zeros(3)) == 0  # one in reality costs nothing


def test_regret_is_lost_by_taking_the_best_in_dreams():
    real = np.array([1.0, 5.0, 4.0])
    assert regret_at_1(np.array([0.0, 9.0, 8.0]), real) == 0
    assert regret_at_1(np.array([0.0, 8.0, 9.0]), real) == 1
    assert regret_at_1(np.array([9.0, 8.0, 9.0]), real) == pytest.approx(5 - (1 + 4) / 2)  # either of the two
    assert regret_at_1(np.array([3.0, 2.0, 1.0]), np.array([-3.0, -2.0, -1.0])) == 2


def test_errors_are_means_over_policies():
    found = measures(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0]))
    assert found["mae"] == pytest.approx(1)
    assert found["bias"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", list(MEASURES))
def test_many_sets_are_measured_as_each_alone(name):
    sets = [pairs(seed) for seed in range(12)]
    imagined, real = (np.stack(each).reshape(3, 4, 7) for each in zip(*sets, strict=True))
    alone = [float(MEASURES[name](*each)) for each in sets]
    assert MEASURES[name](imagined, real).ravel().tolist() == pytest.approx(alone)


def test_a_correlation_with_what_does_not_vary_is_none():
    always, varied = np.full(3, 0.1), np.array([1.0, 2.0, 3.0])
    for pair in ((always, varied), (varied, always), (always, always)):
        found = measures(*pair)
        assert found["pearson_r"] is None
        assert found["spearman"] is None
        assert all(np.isfinite(found[name]) for name in ("mmrv", "mae", "bias", "regret_at_1"))
    nearly = np.array([0.1 + 0.2, 0.3, 0.3])  # equal to rounding
    assert measures(nearly, varied)["pearson_r"] is None


def test_intervals_of_the_gap_are_those_of_the_normal_distribution():
    rng = np.random.default_rng(0)
    imagined, real = rng.normal(5, 2, (4, 400)), rng.normal(3, 1, (4, 100))
    low, high = intervals(imagined, real)["bias"]
    spread = 1.96 * np.sqrt(imagined.mean(0).var() / 400 + real.mean(0).var() / 100)
    assert (low + high) / 2 == pytest.approx((imagined.mean() - real.mean()), abs=0.02)
    assert (high - low) / 2 == pytest.approx(spread, rel=0.05)


def test_episodes_are_drawn_alike_for_all_policies():
    """Mazes in which all score more cannot change the order of policies."""
    skill, mazes = np.array([[1.0], [2.0], [4.0]]), np.random.default_rng(0).normal(0, 50, (2, 30))
    found = intervals(skill + mazes[:1], skill + mazes[1:])
    assert found["pearson_r"] == pytest.approx([1, 1])
    assert found["mmrv"] == [0, 0]
    assert found["bias"][1] - found["bias"][0] > 20


def test_other_policies_are_another_kind_of_chance():
    imagined = np.repeat(np.array([[1.0], [2.0], [3.0], [9.0]]), 5, axis=1)
    real = np.repeat(np.array([[2.0], [1.0], [3.0], [9.0]]), 5, axis=1)
    episodes, both = (intervals(imagined, real, other_policies=other) for other in (False, True))
    expected = measures(imagined[:, 0], real[:, 0])
    assert all(episodes[name] == pytest.approx([value, value]) for name, value in expected.items())
    assert both["pearson_r"][0] == pytest.approx(-1)  # the first two alone
    assert both["pearson_r"][1] == pytest.approx(1)
    assert both["mae"] == pytest.approx([0, 1])


def test_an_interval_of_what_is_never_defined_is_none():
    found = intervals(np.ones((3, 5)), np.arange(15.0).reshape(3, 5))
    assert found["pearson_r"] is None
    assert found["mae"] is not None


@pytest.mark.parametrize("seed", range(5))
def test_drop_one_is_the_range_over_the_others(seed):
    imagined, real = pairs(seed)
    names = list("abcdefg")
    found = drop_one(names, imagined, real)
    for name, measure in MEASURES.items():
        alone = {
            left_out: float(measure(np.delete(imagined, i), np.delete(real, i))) for i, left_out in enumerate(names)
        }
        low, high = min(alone, key=alone.get), max(alone, key=alone.get)
        assert found[name]["range"] == pytest.approx([alone[low], alone[high]])
        assert [alone[left_out] for left_out in found[name]["without"]] == pytest.approx([alone[low], alone[high]])


def test_drop_one_tells_who_carries_a_correlation():
    found = drop_one(["a", "b", "far"], np.array([1.0, 2.0, 90.0]), np.array([2.0, 1.0, 90.0]))["pearson_r"]
    assert found["range"] == pytest.approx([-1, 1])
    assert found["without"][0] == "far"
    assert drop_one(["a", "b", "c"], np.ones(3), np.arange(3.0))["spearman"] is None


def scored(paid, first_seed=0, length=100):
    """Return an evaluation of one reward an episode or more, from the steps at which it came."""
    rewards = tuple(tuple((step, 1.0) for step in episode) for episode in paid)
    return Evaluation(first_seed, tuple(map(float, map(len, paid))), (length,) * len(paid), rewards)


@pytest.fixture
def policies():
    """Three policies, of which the dream pays the best one more, and late."""
    return {
        "bad": {"imagined": scored([[], []]), "real": scored([[], [10]])},
        "fair": {"imagined": scored([[5, 60], [5]]), "real": scored([[5], [5, 60]])},
        "good": {"imagined": scored([[1, 2, 70, 80], [1, 2, 70, 80]]), "real": scored([[1, 2, 3], [1, 2]])},
    }


def test_the_report_has_what_others_read(policies):
    found = agreement(policies, (10, 50, 100, 1000))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [row["name"] for row in found["policies"]] == ["bad", "fair", "good"]
    assert all(set(row["real"]) == {"mean", "ci95", "episodes", "steps"} for row in found["policies"])
    imagined, real = np.array([0, 1.5, 4]), np.array([0.5, 1.5, 2.5])
    assert {name: found[name] for name in MEASURES} == pytest.approx(measures(imagined, real))
    assert found["pearson_r"] == pytest.approx(stats.pearsonr(imagined, real).statistic)
    assert found["mae"] == pytest.approx((0.5 + 0 + 1.5) / 3)
    assert found["undefined"] == {}
    assert set(found["ci95"]) == {"episodes", "policies_and_episodes"}
    assert set(found["drop_one"]) == set(found["ci95"]["episodes"]) == set(MEASURES)
    assert found["real_halves"]["mae"] == pytest.approx((1 + 1 + 1) / 3)
    assert found["episode_returns"]["fair"] == {"imagined": [2, 1], "real": [1, 2]}


def test_the_gap_is_that_of_what_was_collected_until_then(policies):
    rows = agreement(policies, (10, 50, 100, 1000))["gap_by_horizon"]
    assert [row["steps"] for row in rows] == [10, 50, 100]  # an episode is 100 steps long
    assert [row["policies"][2]["imagined"] for row in rows] == [2, 2, 4]
    assert [row["policies"][2]["real"] for row in rows] == [2.5, 2.5, 2.5]
    assert [row["bias"] for row in rows] == pytest.approx([-1 / 3, -1 / 3, 1 / 3])
    assert rows[-1]["mae"] == pytest.approx(agreement(policies)["mae"])
    assert rows[0]["ci95"]["bias"] == pytest.approx([-1 / 3, -1 / 3])  # what bad gains in a maze, good loses there
    assert rows[-1]["ci95"]["bias"] == pytest.approx([0, 2 / 3])


def test_what_is_undefined_has_a_reason(policies):
    for found in policies.values():
        found["imagined"] = scored([[3], [3]])
    found = agreement(policies)
    assert found["pearson_r"] is None
    assert found["undefined"] == dict.fromkeys(("pearson_r", "spearman"), "all policies have the same imagined return")
    assert json.dumps(found, allow_nan=False)
    assert "undefined: all policies have the same imagined return" in as_table(found)


def test_the_table_has_the_best_policy_first_and_every_measure(policies, tmp_path):
    found = agreement(policies, (10, 50))
    lines = as_table(found).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["good", "fair", "bad"]
    assert "4.00 [4.00, 4.00], 2" in lines[2]
    assert any(line.startswith("mean absolute error") and "0.67 [" in line for line in lines)
    plot_agreement(found, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.size == (1440, 600)


def test_what_cannot_be_compared_is_refused(policies):
    two = {name: policies[name] for name in ("bad", "good")}
    with pytest.raises(ValueError, match="2 different policies given, expected 3 or more"):
        agreement(two)
    policies["fair"]["real"] = scored([[], []], first_seed=7)
    with pytest.raises(ValueError, match="real: fair ran 2 episodes from seed 7, bad 2 from seed 0; expected the same"):
        agreement(policies)
    policies["fair"]["real"] = Evaluation(0, (1.0, 2.0), (100, 100))
    with pytest.raises(ValueError, match="has no rewards"):
        agreement(policies, (10,))
