"""Plans of continuous actions against a linear-quadratic regulator, whose optimum the Riccati recursion gives."""

import numpy as np
import pytest

from agents.box_plans import GaussianBelief, GaussianCEM, GaussianMPPI, colored_noise, plan_box

# A cart pushed by a force, steps of 0.2 s: position and speed, one action. Costs of state, action, and last state.
A, B = np.array([[1.0, 0.2], [0.0, 1.0]]), np.array([[0.02], [0.2]])
Q, R, LAST = np.diag([1.0, 0.1]), np.array([[0.1]]), np.diag([5.0, 1.0])
HORIZON = 12
STARTS = np.array([[1.0, 0.0], [-2.0, 1.0], [0.5, -1.5], [3.0, 0.5]])


def cost_to_go():
    """Return `P` with `x' P x` the least cost of the horizon, and the gains of the optimal actions `-K_t x`."""
    value, gains = LAST, []
    for _ in range(HORIZON):
        gain = np.linalg.solve(R + B.T @ value @ B, B.T @ value @ A)
        value = Q + A.T @ value @ (A - B @ gain)
        gains.append(gain)
    return value, gains[::-1]


def returns(actions):
    """Return minus the cost of `[b s horizon 1]` actions from `STARTS`."""
    state, cost = np.broadcast_to(STARTS[:, None], (*actions.shape[:2], 2)), np.zeros(actions.shape[:2])
    for step in range(HORIZON):
        action = actions[:, :, step]
        cost = cost + np.einsum("bsi,ij,bsj->bs", state, Q, state) + R[0, 0] * action[..., 0] ** 2
        state = state @ A.T + action @ B.T
    return -(cost + np.einsum("bsi,ij,bsj->bs", state, LAST, state))


def rngs(count, seed=0):
    return [np.random.default_rng([seed, row]) for row in range(count)]


def solve(search, seed=0, bound=12.0):
    bounds = np.array([-bound]), np.array([bound])
    return plan_box(returns, *bounds, HORIZON, rngs(len(STARTS), seed), search)


def test_the_riccati_recursion_is_right():
    """The rest of this file leans on it: its actions cost what it says, and all others more."""
    value, gains = cost_to_go()
    actions = np.zeros((len(STARTS), 1, HORIZON, 1))
    for row, state in enumerate(STARTS):
        for step, gain in enumerate(gains):
            actions[row, 0, step] = -gain @ state
            state = A @ state + B @ actions[row, 0, step]
    least = np.einsum("bi,ij,bj->b", STARTS, value, STARTS)
    np.testing.assert_allclose(-returns(actions)[:, 0], least, rtol=1e-9)
    nearby = actions + np.random.default_rng(0).normal(scale=0.01, size=(len(STARTS), 50, HORIZON, 1))
    assert (-returns(nearby) > least[:, None]).all()
    assert np.abs(actions).max() < 12


@pytest.mark.parametrize(
    "search",
    [
        GaussianCEM(256, 30, elites=32, smoothing=0.3, color=0.0),
        GaussianMPPI(256, 30, smoothing=0.3, color=0.0, least_std=0.0),
    ],
    ids=lambda search: type(search).__name__,
)
def test_plans_cost_hardly_more_than_the_optimum(search):
    """Within 0.5 %; twice as many random plans that learn nothing are 1.5 times as dear, and more."""
    value, _ = cost_to_go()
    least = np.einsum("bi,ij,bj->b", STARTS, value, STARTS)
    for seed in range(3):
        ratios = np.array([-plan.value for plan in solve(search, seed)]) / least
        assert (ratios >= 1 - 1e-9).all(), "better than the best: the cost is not the same"
        assert (ratios < 1.005).all()
    shots = solve(GaussianCEM(256 * 60, 1, color=0.0))
    assert (np.array([-plan.value for plan in shots]) / least).mean() > 1.5


@pytest.mark.parametrize("search", [GaussianCEM(), GaussianMPPI()], ids=lambda search: type(search).__name__)
def test_actions_stay_within_their_bounds_and_lie_on_them_where_that_is_best(search):
    plans = solve(search, bound=0.5)
    assert max(np.abs(plan.actions).max() for plan in plans) == 0.5
    assert max(np.abs(plan.belief.mean).max() for plan in plans) <= 0.5


def test_actions_of_any_shape_are_planned():
    low, high = np.zeros((2, 3)), np.arange(1.0, 7.0).reshape(2, 3)
    (found,) = plan_box(
        lambda a: -((a - high / 2) ** 2).sum(axis=(2, 3, 4)),
        low,
        high,
        4,
        rngs(1),
        GaussianCEM(256, 20, elites=24, color=0.0),
    )
    np.testing.assert_allclose(found.actions, np.broadcast_to(high / 2, (4, 2, 3)), atol=0.1)


def test_a_belief_is_refitted_by_weighted_mean_and_std():
    ones = np.ones((1, 1))
    belief = GaussianBelief(ones, 2 * ones, 0.1 * ones, np.array([-9.0]), np.array([9.0]), 0.0, smoothing=0.5)
    refitted = belief.refitted(np.array([[[3.0]], [[7.0]], [[100.0]]]), np.array([0.75, 0.25, 0.0]))
    assert refitted.mean.item() == 0.5 * 1 + 0.5 * 4
    assert refitted.std.item() == pytest.approx(0.5 * 2 + 0.5 * np.sqrt(0.75 * 1 + 0.25 * 9))
    assert belief.refitted(np.zeros((2, 1, 1)), np.zeros(2)) is belief


def test_the_next_plan_begins_at_the_last_one_with_a_fresh_std():
    search = GaussianCEM(128, 10)
    found = solve(search)
    left = [plan.shifted(1) for plan in found]
    np.testing.assert_array_equal(left[0].belief.mean[:-1], found[0].belief.mean[1:])
    np.testing.assert_array_equal(left[0].belief.mean[-1], found[0].belief.mean[-1])
    seen = []

    def score(actions):
        seen.append(actions.copy())
        return returns(actions)

    plan_box(score, -np.full(1, 12.0), np.full(1, 12.0), HORIZON, rngs(4, 1), search, left)
    np.testing.assert_array_equal(seen[0][:, -5], [plan.belief.mean for plan in left])
    np.testing.assert_array_equal(seen[0][:, -4:], [plan.kept for plan in left])
    drawn = seen[0][0, :-5] - left[0].belief.mean
    assert drawn.std() == pytest.approx(6.0, rel=0.15)  # half of half of 24, a little of it cut off


@pytest.mark.parametrize("steps", [1, 2, 7, 12])
@pytest.mark.parametrize("color", [0.0, 1.0, 2.0])
def test_noise_has_variance_one_at_every_step(steps, color):
    noise = colored_noise((20_000,), steps, color, np.random.default_rng(0))
    np.testing.assert_allclose(noise.var(axis=0), 1, atol=0.05)  # five standard deviations
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.035)


def test_colored_noise_is_alike_from_step_to_step_and_white_is_not():
    """Autocorrelation: the spectrum's Fourier transform, worked out for 12 steps."""
    for color in (0.0, 1.0, 2.0):
        noise = colored_noise((40_000,), 12, color, np.random.default_rng(0))
        frequencies = np.maximum(np.abs(np.fft.fftfreq(12)), 1 / 12)
        expected = np.fft.ifft(frequencies**-color).real
        assert (noise[:, 1:] * noise[:, :-1]).mean() == pytest.approx(expected[1] / expected[0], abs=0.02)
