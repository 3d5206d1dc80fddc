"""What all searches share: NaN last, infinities, weights, rows that do not touch, plans that shift."""

import numpy as np
import pytest

from agents.box_plans import GaussianCEM, GaussianMPPI, plan_box
from agents.discrete_plans import CategoricalCEM, CategoricalMPPI, RandomShooting, plan_discrete
from agents.trajectory_optimizers import best_first, elite_weights, exponential_weights, optimise

INF, NAN = np.inf, np.nan
SEARCHES = [
    RandomShooting(32),
    CategoricalCEM(32, 3),
    CategoricalMPPI(32, 3),
    GaussianCEM(32, 3),
    GaussianMPPI(32, 3),
]


def plan(score, search, seeds, before=None):
    rngs = [np.random.default_rng(seed) for seed in seeds]
    if isinstance(search, GaussianCEM | GaussianMPPI):
        return plan_box(score, -np.ones(2), np.ones(2), 6, rngs, search, before)
    return plan_discrete(score, 3, 6, rngs, search, before)


def targets(rows):
    """Return a score, of problems of which each wants actions of its own."""

    def score(actions):
        assert len(actions) == len(rows)
        wanted = np.stack([np.random.default_rng([7, row]).integers(3, size=6) for row in rows])
        wanted = wanted[:, None].reshape(len(rows), 1, 6, *[1] * (actions.ndim - 3))
        return -np.abs(actions - wanted).reshape(*actions.shape[:2], -1).sum(axis=-1, dtype=np.float64)

    return score


def test_nan_ranks_last_and_ties_go_to_the_first():
    assert best_first(np.array([NAN, 1, -INF, 3, INF, 1, NAN, 3])).tolist() == [4, 3, 7, 1, 5, 2, 0, 6]


@pytest.mark.parametrize(
    ("returns", "elites", "expected"),
    [
        ([1, 3, 2, 3], 2, [0, 0.5, 0, 0.5]),
        ([5, 5, 5, 5], 2, [0.5, 0.5, 0, 0]),
        ([NAN, 1, -INF, NAN], 3, [0, 1, 0, 0]),
        ([INF, 1, 0, NAN], 2, [0.5, 0.5, 0, 0]),
        ([NAN, -INF, NAN, -INF], 2, [0, 0, 0, 0]),
    ],
)
def test_elites_share_the_weight(returns, elites, expected):
    assert elite_weights(np.array(returns, float), elites).tolist() == expected


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        ([2, 0, 1], [1, np.exp(-4), np.exp(-2)]),  # the median is 1 behind the best
        ([-7e9, -1e10, -1.3e10], [1, np.exp(-2), np.exp(-4)]),
        ([4, NAN, 0, -INF], [1, 0, np.exp(-4), 0]),  # of two, the median is half way
        ([3, 1, 3, 3], [1, 0, 1, 1]),
        ([0, 0, 0], [1, 1, 1]),
        ([INF, 1, INF, NAN], [1, 0, 1, 0]),
        ([INF, 1, 0, NAN], [1, 0, 0, 0]),
        ([NAN, -INF], [0, 0]),
    ],
)
def test_exponential_weights_are_those_of_their_formula(returns, expected):
    expected = np.array(expected) / max(1, sum(expected))
    np.testing.assert_allclose(exponential_weights(np.array(returns, float), 0.5), expected, rtol=1e-12)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_a_candidate_without_a_score_is_never_chosen_or_learned_from(search):
    """All that begin well for the score are NaN; what is left must be found, by the belief, too."""

    def score(actions):
        first = actions.reshape(*actions.shape[:3], -1)[:, :, 0, 0]
        return np.where(first > 0.5, NAN, first.astype(float))

    (found,) = plan(score, search, [0])
    assert found.value == found.actions.ravel()[0] <= 0.5
    assert (found.kept.reshape(len(found.kept), -1)[:, 0] <= 0.5).all()
    if isinstance(search, CategoricalCEM | CategoricalMPPI):
        assert found.belief.probabilities[0].argmax() == 0


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
@pytest.mark.parametrize("everywhere", [NAN, -INF, INF])
def test_scores_that_say_nothing_give_some_plan(search, everywhere):
    (found,) = plan(lambda actions: np.full(actions.shape[:2], everywhere), search, [0])
    np.testing.assert_equal(found.value, everywhere)
    assert np.isfinite(found.actions).all()
    assert np.isfinite(found.belief.draw(4, np.random.default_rng(0))).all()


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_a_row_does_not_depend_on_the_others(search):
    """Bit by bit: alone, among others, in another order, and where the others are NaN; carried over, too."""
    rows = [4, 5, 6]
    first = plan(targets(rows), search, rows)
    together = plan(targets(rows), search, rows, [each.shifted(1) for each in first])
    for order in ([6, 4, 5], [5], [6, 5]):
        before = plan(targets(order), search, order)
        again = plan(targets(order), search, order, [each.shifted(1) for each in before])
        for row, found in zip(order, again, strict=True):
            expected = together[rows.index(row)]
            assert found.actions.tobytes() == expected.actions.tobytes()
            assert found.kept.tobytes() == expected.kept.tobytes()
            assert found.value == expected.value

    def others_are_nan(actions):
        returns = targets(rows)(actions)
        returns[1:] = NAN
        return returns

    assert plan(others_are_nan, search, rows)[0].actions.tobytes() == first[0].actions.tobytes()
    assert len({each.actions.tobytes() for each in first}) > 1


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_a_plan_is_found_again_by_the_same_seed_only(search):
    seen = []

    def score(actions):
        seen.append(actions.copy())
        return targets([1])(actions)

    found, again, _ = (plan(score, search, [seed])[0] for seed in (1, 1, 2))
    assert found.kept.tobytes() == again.kept.tobytes()
    first, second, third = np.split(np.stack(seen), 3)
    assert first.tobytes() == second.tobytes() != third.tobytes()


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_what_is_kept_makes_the_next_plan_no_worse(search):
    """The same problem again: of the plan before nothing was taken, so the next one begins with it."""
    (first,) = plan(targets([3]), search, [3])
    (second,) = plan(targets([3]), search, [30], [first.shifted(0)])
    assert second.value >= first.value


def test_a_shifted_plan_is_what_is_left_of_it():
    (found,) = plan(targets([3]), CategoricalCEM(32, 3, keep=4), [3])
    left = found.shifted(2)
    np.testing.assert_array_equal(left.actions, [*found.actions[2:], *[found.actions[-1]] * 2])
    np.testing.assert_array_equal(left.kept[:, :4], found.kept[:, 2:])
    np.testing.assert_array_equal(left.belief.probabilities[:4], found.belief.probabilities[2:])
    np.testing.assert_allclose(left.belief.probabilities[4:], 1 / 3)
    assert np.isnan(left.value)
    np.testing.assert_array_equal(found.shifted(0).actions, found.actions)
    np.testing.assert_array_equal(found.shifted(6).belief.probabilities, np.full((6, 3), 1 / 3))
    with pytest.raises(ValueError, match="steps = 7, expected 0 to 6"):
        found.shifted(7)


def test_the_best_of_all_iterations_is_the_plan():
    """Scores that fall from one iteration to the next: the first one's best stays."""
    seen = []

    def score(actions):
        seen.append(actions.copy())
        return targets([3])(actions) - 100.0 * len(seen)

    (found,) = plan(score, CategoricalCEM(32, 3), [3])
    assert len(seen) == 3
    assert found.value == targets([3])(seen[0]).max() - 100
    assert any((found.actions == candidate).all() for candidate in seen[0][0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CategoricalCEM(candidates=0), "candidates = 0, expected a whole number, at least 1"),
        (lambda: CategoricalCEM(candidates=8, elites=9), "elites = 9 of candidates = 8"),
        (lambda: RandomShooting(candidates=8, keep=7), "keep = 7 of candidates = 8, expected at most 6"),
        (lambda: CategoricalMPPI(temperature=0.0), "temperature = 0.0, expected a number, at least"),
        (lambda: CategoricalMPPI(repeat=1.5), r"repeat = 1.5, expected a share in \[0, 1\]"),
        (lambda: GaussianCEM(start_std=float("nan")), "start_std = nan, expected a number"),
        (lambda: GaussianMPPI(carry_over=-1.0), r"carry_over = -1.0, expected a share"),
        (lambda: plan(lambda actions: np.zeros(32), RandomShooting(32), [0]), r"shape \(32,\), expected \(b, s\)"),
        (lambda: plan(targets([0, 1]), RandomShooting(32), [0, 1], [None]), "1 plans before"),
        (lambda: optimise(targets([0]), [], [], [np.random.default_rng(0)], RandomShooting()), "0 beliefs"),
        (
            lambda: plan_box(targets([0]), -np.ones(1), np.array([INF]), 3, [np.random.default_rng(0)], GaussianCEM()),
            "RescaleAction",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
