"""Costs of branches against scores and by a plain solver; searches on costs with a known optimum; there and back."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import nn

from agents.box_plans import GaussianCEM, plan_box
from agents.branches import score_branches
from agents.costable import STATES, BranchingCost, Costable, as_actions, score_of_costable
from agents.discrete_plans import CategoricalCEM, plan_discrete
from tests.agents.branching_worlds import Bandit, BranchingMaze, Cart, distances

STARTS = [22, 19, 14, 17]
"""Cells of the maze from which its goal, 24, is a few steps away."""


def as_one_hot(actions, count):
    return torch.nn.functional.one_hot(torch.as_tensor(actions), count).float()


def solve_plainly(model, info, horizon, categories, samples=200, iterations=6, elites=20):
    """Search as its solvers do: one problem at a time, the rest repeated over candidates, the mean last.

    Args:
        categories: Of one-hot actions; None for one number an action, Gaussian.
    """
    rng, plans = np.random.default_rng(0), []
    for row in range(len(next(iter(info.values())))):
        shown = {name: value[row : row + 1] for name, value in info.items()}  # as they cut lists
        mean = np.full((horizon, categories), 1 / categories) if categories else np.zeros((horizon, 1))
        std = np.full((horizon, 1), 6.0)
        for _ in range(iterations):
            if categories:
                drawn = (rng.random((samples, horizon, 1)) >= mean.cumsum(axis=1)).sum(axis=-1)
                candidates = np.eye(categories)[drawn.clip(max=categories - 1)]
            else:
                candidates = mean + std * rng.normal(size=(samples, horizon, 1))
            with torch.inference_mode():
                costs = model.get_cost(shown, torch.as_tensor(candidates[None]).float())
            assert costs.shape == (1, samples)
            best = candidates[costs[0].argsort()[:elites].numpy()]
            mean, std = best.mean(axis=0), best.std(axis=0)
        plans.append(mean.argmax(axis=-1) if categories else mean[:, 0])
    return np.stack(plans)


def steps_to_goal(plan, start, goal=24):
    """Return after how many of its actions a plan is there; inf if never."""
    env = BranchingMaze(1, start, goal)
    env.reset()
    for step, action in enumerate(plan):
        if env.step(np.array([action]))[2][0]:
            return step + 1
    return np.inf


def test_costs_are_minus_the_returns_of_branches_and_the_places_are_left_alone():
    env, rng = Cart(3, [(1.0, 0.0), (-2.0, 1.0), (0.5, -1.5)]), np.random.default_rng(0)
    env.reset()
    cost, before = BranchingCost(env, discount=0.9, critic=lambda seen: seen[:, 0]), env.clone_state()
    assert isinstance(cost, Costable)
    states, candidates = cost.info()[STATES], rng.uniform(-12, 12, (3, 4, 5, 1)).astype(np.float32)
    expected = score_branches(Cart(3), states, candidates, 0.9, lambda seen: seen[:, 0])
    found = cost.get_cost(cost.info(), torch.as_tensor(candidates))
    np.testing.assert_allclose(found, -expected, rtol=1e-6)
    only_last = cost.get_cost({STATES: states[2:], "pixels": None}, torch.as_tensor(candidates[2:]))
    assert only_last.equal(found[2:])
    for ours, theirs in zip(before, env.clone_state(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_one_hot_actions_are_counted_from_the_start_of_their_space():
    env = Bandit(2, [0.0, 1.0, np.nan])
    env.reset()
    costs = BranchingCost(env, discount=1.0).get_cost(
        BranchingCost(env).info(), as_one_hot([[[0, 1], [1, 1]], [[0, 0], [2, 0]]], 3)
    )
    assert costs.tolist() == [[-1, -2], [0, np.inf]]


def test_blocks_of_actions_stand_side_by_side():
    flat = as_one_hot([[[0, 3, 2, 1]]], 4)
    assert as_actions(Discrete(4, start=5), flat.reshape(1, 1, 2, 8).numpy()).tolist() == [[[5, 8, 7, 6]]]
    box = Box(np.float32([-1, -2, -3]), np.float32([1, 2, 3]))
    numbers = np.arange(-6.0, 6.0).reshape(1, 1, 2, 6)
    found = as_actions(box, numbers)
    assert found.shape == (1, 1, 4, 3)
    assert found.dtype == np.float32
    assert found[0, 0].tolist() == [[-1, -2, -3], [-1, -2, -1], [0, 1, 2], [1, 2, 3]]


def test_a_plain_solver_walks_shortest_paths_through_branches_elsewhere():
    acting, scratch = BranchingMaze(4, STARTS), BranchingMaze(64)
    acting.reset()
    cost = BranchingCost(
        scratch, discount=0.9, root=lambda: [acting.clone_state([place]) for place in range(acting.num_envs)]
    )
    plans = solve_plainly(cost, cost.info(), 5, 4)
    found = [steps_to_goal(plan, start) for plan, start in zip(plans, STARTS, strict=True)]
    assert found == distances(24)[STARTS].tolist()


class Sum(nn.Module):
    """Costs the squared distance of start plus all actions from a goal; keeps what it has worked out."""

    def __init__(self):
        super().__init__()
        self.scale, self.encoded = nn.Parameter(torch.ones((), dtype=torch.float64)), 0

    def get_cost(self, info_dict, action_candidates):
        assert action_candidates.dtype == torch.float64
        if "start_code" not in info_dict:
            self.encoded += 1
            info_dict["start_code"] = info_dict["start"] * self.scale
        end = info_dict["start_code"] + action_candidates.sum(dim=2)
        return ((end - torch.as_tensor(info_dict["goal"])) ** 2).sum(dim=-1)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_our_search_plans_on_a_model_of_costs(batch_size):
    """Three actions in [-1, 1]^2 each: the goal of the first problem can be reached, that of the second cannot."""
    model = Sum()
    info = {
        "start": torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
        "goal": np.array([[-1.0, 0.5], [4.0, -5.0]]),
        "names": "ab",
    }
    rngs = [np.random.default_rng(row) for row in range(2)]
    score = score_of_costable(model, info, batch_size=batch_size)
    found = plan_box(score, -np.ones(2), np.ones(2), 3, rngs, GaussianCEM(100, 20, elites=10, color=0.0))
    np.testing.assert_allclose(found[0].actions.sum(axis=0), [-2, 0.5], atol=0.02)
    np.testing.assert_allclose(found[1].actions, [[1, -1]] * 3, atol=0.001)
    assert found[1].value == pytest.approx(-5, abs=0.01)
    assert model.encoded == 2 // batch_size
    assert set(info) == {"start", "goal", "names"}
    assert score(np.zeros((2, 1, 3, 2))).tolist() == [[-4.25], [-41]]
    assert model.encoded == 4 // batch_size


@pytest.mark.parametrize("block", [1, 3])
def test_what_goes_there_comes_back(block):
    """A score of costs of branches is the score of branches, in discrete actions and in boxes."""
    rng, maze, cart = np.random.default_rng(0), BranchingMaze(2, STARTS[:2]), Cart(2)
    for env, actions, count in (
        (maze, rng.integers(4, size=(2, 5, 6)), 4),
        (cart, rng.uniform(-12, 12, (2, 5, 6, 1)).astype(np.float32), None),
    ):
        env.reset()
        cost = BranchingCost(env, discount=0.9)
        expected = score_branches(type(env)(2), cost.info()[STATES], actions, 0.9)
        found = score_of_costable(cost, cost.info(), count, block)(actions)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    expected_steps = distances(24)[STARTS[:2]].tolist()
    plans = plan_discrete(
        score_of_costable(BranchingCost(maze), BranchingCost(maze).info(), 4),
        4,
        5,
        [np.random.default_rng(row) for row in range(2)],
        CategoricalCEM(100, 4),
    )
    assert [steps_to_goal(plan.actions, start) for plan, start in zip(plans, STARTS, strict=False)] == expected_steps


def test_a_dream_goes_on_bit_equal_after_it_was_searched():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    env = gymnasium.make_vec("wmgym:LSSVWM-MemoryMaze-v0", num_envs=2, observation="features")
    env.reset(seed=0)
    before = env.clone_state()
    expected = [env.step([1, 2])[0] for _ in range(2)]
    env.restore_state(before)
    cost = BranchingCost(env, critic=lambda features: features[:, 0])
    with torch.inference_mode():
        costs = cost.get_cost(cost.info(), as_one_hot([[[1, 1], [2, 2]]] * 2, 6))
    assert costs.isfinite().all()
    for observations in expected:
        np.testing.assert_array_equal(env.step([1, 2])[0], observations)
    env.close()
    torch.set_num_threads(threads)


def test_tensors_of_a_simulator_stay_usable_after_a_solver():
    class Counter(Bandit):
        total = torch.zeros(())

        def move(self, actions):
            self.total = self.total + 1
            return super().move(actions)

    env = Counter(1, [0.0, 1.0])
    env.reset()
    with torch.inference_mode():
        BranchingCost(env).get_cost(BranchingCost(env).info(), as_one_hot([[[0], [1]]], 2))
    assert not env.total.is_inference()
    env.total += 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda env: BranchingCost(env).get_cost({}, as_one_hot([[[0]]], 4)), "0 states in info_dict.*expected 1"),
        (
            lambda env: as_actions(env.single_action_space, np.zeros((1, 1, 2, 1))),
            "last axis 1 given.*one-hot vectors of 4",
        ),
        (lambda env: as_actions(env.single_action_space, np.full((1, 1, 2, 4), 0.25)), "one-hot vectors of 4"),
        (lambda env: as_actions(Box(-1, 1, (2,)), np.zeros((1, 1, 2, 3))), "expected actions of 2 side by side"),
        (lambda env: BranchingCost(env).get_cost({}, torch.zeros(1, 1, 1, 4, requires_grad=True)), "require gradients"),
        (
            lambda env: score_of_costable(Sum(), {"start": torch.zeros(3, 1)})(np.zeros((2, 4, 1, 1))),
            "{'start': 3} problems, expected 2",
        ),
        (lambda env: score_of_costable(Sum(), {}, block=2)(np.zeros((2, 4, 3, 1))), "horizon = 3, expected a multiple"),
        (
            lambda env: score_of_costable(SimpleNamespace(get_cost=lambda info, a: a[..., 0]), {})(
                np.zeros((2, 4, 1, 1))
            ),
            r"shape \(2, 4, 1\), expected \(b, s\) = \(2, 4\)",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(BranchingMaze(1))


def test_actions_that_solvers_do_not_know_are_refused():
    class Two(BranchingMaze):
        single_action_space = MultiDiscrete([2, 2])

    with pytest.raises(ValueError, match="expected Discrete or Box"):
        BranchingCost(Two(1))
