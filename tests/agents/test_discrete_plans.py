"""Plans of discrete actions against brute force, a bandit with a trap, and probabilities worked out by hand."""

from itertools import product

import numpy as np
import pytest

from agents.discrete_plans import CategoricalBelief, CategoricalCEM, CategoricalMPPI, RandomShooting, plan_discrete

SEARCHES = [RandomShooting(200), CategoricalCEM(50, 4), CategoricalMPPI(50, 4)]


def by_table(values):
    """Return a score that looks each sequence up: `[a a a ...]`, one axis a step."""
    return lambda actions: values[tuple(np.moveaxis(actions, -1, 0))]


def rngs(count, seed=0):
    return [np.random.default_rng([seed, row]) for row in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_random_shooting_that_tries_all_sequences_is_brute_force(seed):
    """3^4 = 81 sequences, 1500 uniform draws: one given sequence is missed with probability e^-18.5."""
    values = np.random.default_rng(seed).normal(size=(3,) * 4)
    (found,) = plan_discrete(by_table(values), 3, 4, rngs(1, seed), RandomShooting(1500, repeat=0.0))
    best = max(product(range(3), repeat=4), key=lambda sequence: values[sequence])
    assert tuple(found.actions) == best
    assert found.value == values[best]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
@pytest.mark.parametrize("best", range(5))
def test_the_best_arm_of_a_bandit_is_pulled(search, best):
    pays = np.linspace(0, 0.8, 5)
    pays[best] = 1.0
    (found,) = plan_discrete(lambda actions: pays[actions].sum(axis=-1), 5, 1, rngs(1), search)
    assert found.actions.tolist() == [best]


@pytest.mark.parametrize("search", SEARCHES[1:], ids=lambda search: type(search).__name__)
def test_learning_from_the_best_finds_what_random_shooting_does_not(search):
    """One sequence of 4^12; the score counts right actions. As many candidates for both, 8 problems."""
    wanted = np.random.default_rng(5).integers(4, size=(8, 1, 12))

    def score(actions):
        return (actions == wanted).sum(axis=-1) / 12

    random = plan_discrete(score, 4, 12, rngs(8), RandomShooting(400))
    learned = plan_discrete(score, 4, 12, rngs(8), type(search)(50, 8))
    assert np.mean([plan.value for plan in random]) < 0.7
    assert np.mean([plan.value for plan in learned]) > 0.9


def test_drawn_actions_have_the_probabilities_they_should_whatever_is_repeated():
    """20000 draws: a share is off by 0.015 (four standard deviations) once in 10000."""
    probabilities = np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.6, 0.0, 0.4]])
    for repeat in (0.0, 0.7, 1.0):
        drawn = CategoricalBelief(probabilities, repeat, 0.0).draw(20_000, np.random.default_rng(0))
        shares = np.stack([(drawn == action).mean(axis=0) for action in range(3)], axis=1)
        np.testing.assert_allclose(shares, probabilities, atol=0.015)
        assert (shares[probabilities == 0] == 0).all()


@pytest.mark.parametrize("repeat", [0.0, 0.6, 1.0])
def test_actions_last_as_long_as_they_should(repeat):
    """A step is like the one before where its number is held, else by chance, one time in four."""
    drawn = CategoricalBelief(np.full((30, 4), 0.25), repeat, 0.0).draw(1000, np.random.default_rng(0))
    same = (drawn[:, 1:] == drawn[:, :-1]).mean()
    assert same == pytest.approx(repeat + (1 - repeat) / 4, abs=0.015)


def test_a_belief_is_refitted_by_weighted_shares():
    belief = CategoricalBelief(np.array([[0.5, 0.5], [0.9, 0.1]]), 0.0, smoothing=0.2)
    candidates, weights = np.array([[0, 1], [1, 1], [1, 0]]), np.array([0.5, 0.3, 0.2])
    refitted = belief.refitted(candidates, weights).probabilities
    np.testing.assert_allclose(refitted, [[0.1 + 0.4, 0.1 + 0.4], [0.18 + 0.8 * 0.2, 0.02 + 0.8 * 0.8]])
    assert belief.refitted(candidates, np.zeros(3)) is belief


def test_the_next_plan_begins_between_the_last_one_and_nothing():
    """A score that stops telling anything: what is drawn then shows where the search begins."""
    wanted = np.array([0, 1, 2, 0, 1, 2])
    search = CategoricalCEM(400, 1, elites=20, keep=3, smoothing=0.0, repeat=0.0, carry_over=0.5)
    (before,) = plan_discrete(lambda actions: (actions == wanted).sum(axis=-1), 3, 6, rngs(1), search)
    seen = []
    plan_discrete(lambda a: seen.append(a) or np.zeros(a.shape[:2]), 3, 6, rngs(1, 1), search, [before.shifted(2)])
    left = before.shifted(2)
    np.testing.assert_array_equal(seen[0][0, -3:], left.kept)  # after draws and mode
    expected = 0.5 * left.belief.probabilities + 0.5 / 3
    shares = np.stack([(seen[0][0, :-4] == action).mean(axis=0) for action in range(3)], axis=1)
    np.testing.assert_allclose(shares, expected, atol=0.1)


def test_where_nothing_is_better_than_anything_else_plans_change():
    """Far from any reward, who keeps the first of equal candidates would go on with the last plan for ever."""
    for search in (RandomShooting(16), CategoricalCEM(16, 2, elites=4), CategoricalMPPI(16, 2)):
        plan, taken = None, set()
        for step in range(8):
            (plan,) = plan_discrete(lambda a: np.zeros(a.shape[:2]), 3, 6, rngs(1, step), search, [plan])
            taken.add(plan.actions.tobytes())
            plan = plan.shifted(1)
        assert len(taken) == 8


def test_carrying_over_helps():
    """A target that moves on by one action at a time, a search too weak to find it at once: 20 plans one by one."""
    track = np.random.default_rng(2).integers(4, size=40)

    def mean_value(search):
        plans, values = [None] * 8, []
        generators = rngs(8)
        for start in range(20):
            wanted = track[start : start + 10]
            found = plan_discrete(lambda a, w=wanted: (a == w).mean(axis=-1), 4, 10, generators, search, plans)
            values.append(np.mean([plan.value for plan in found]))
            plans = [plan.shifted(1) for plan in found]
        return np.mean(values[5:])

    carried = mean_value(CategoricalCEM(24, 2, elites=4, keep=4, carry_over=0.5))
    anew = mean_value(CategoricalCEM(24, 2, elites=4, keep=0, carry_over=0.0))
    assert carried > anew + 0.15
