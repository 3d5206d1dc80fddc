"""stable-worldmodel itself, where it is installed: its solvers and its policy in branches, our search on its LeWM."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from agents.box_plans import GaussianCEM, plan_box
from agents.costable import BranchingCost, score_of_costable
from tests.agents.branching_worlds import BranchingMaze, Cart, distances
from tests.agents.test_costable import STARTS, steps_to_goal


@pytest.fixture(scope="module")
def swm():
    """stable-worldmodel's solvers; its import warns of environments that are not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("stable_worldmodel", exc_type=ImportError)


def test_its_categorical_solver_walks_shortest_paths(swm):
    env = BranchingMaze(4, STARTS)
    env.reset()
    cost = BranchingCost(env, discount=0.9)
    solver = swm.solver.CategoricalCEMSolver(cost, batch_size=3, num_samples=200, n_steps=6, topk=20)
    config = swm.PlanConfig(horizon=3, receding_horizon=3, action_block=2)
    solver.configure(action_space=env.single_action_space, n_envs=4, config=config)
    plans = solver.solve(cost.info())["actions"].reshape(4, 6).numpy()
    found = [steps_to_goal(plan, start) for plan, start in zip(plans, STARTS, strict=True)]
    assert found == distances(24)[STARTS].tolist()


@pytest.mark.parametrize("name", ["CEMSolver", "ICEMSolver", "MPPISolver", "PredictiveSamplingSolver"])
def test_its_solvers_for_boxes_push_a_cart(name, swm):
    """All find something better than to do nothing; those that learn come within 5 % of the best that ours finds."""
    env = Cart(2, [(1.0, 0.0), (-2.0, 1.0)])
    env.reset()
    cost, config = BranchingCost(env, discount=1.0), swm.PlanConfig(horizon=8, receding_horizon=8)
    given = {"num_samples": 200} if name.startswith("Predictive") else {"num_samples": 200, "n_steps": 15, "topk": 20}
    solver = getattr(swm.solver, name)(cost, batch_size=2, **given)
    solver.configure(action_space=env.action_space, n_envs=2, config=config)
    plans = solver.solve(cost.info())["actions"].numpy()
    score = score_of_costable(cost, cost.info())
    ours = plan_box(
        score, env.single_action_space.low, env.single_action_space.high, 8,
        [np.random.default_rng(row) for row in range(2)], GaussianCEM(200, 20, elites=20, color=0.0),
    )  # fmt: skip
    returns = score(plans[:, None])[:, 0]
    assert (returns > score(np.zeros((2, 1, 8, 1)))[:, 0]).all()
    best = np.array([plan.value for plan in ours])
    assert (returns <= best + 1e-3 * np.abs(best)).all()
    if not name.startswith("Predictive"):
        assert (returns > 1.05 * best).all()


def test_our_search_plans_on_its_model(swm):
    """A LeWM whose embedding is what it sees and whose prediction adds the action, so that the best plan is known."""
    from stable_worldmodel.wm.lewm import LeWM

    class See(nn.Linear):
        def forward(self, pixels, interpolate_pos_encoding):
            return SimpleNamespace(last_hidden_state=super().forward(pixels)[:, None])

    class Add(nn.Module):
        def forward(self, seen, action):
            return seen + action

    see = See(2, 2, bias=False)
    nn.init.eye_(see.weight)
    model = LeWM(see, Add(), nn.Identity())
    at = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    info = {"pixels": at, "goal": torch.tensor([[[-1.0, 0.5]], [[4.0, -5.0]]]), "action": torch.zeros(2, 1, 2)}
    found = plan_box(
        score_of_costable(model, info), -np.ones(2), np.ones(2), 3,
        [np.random.default_rng(row) for row in range(2)], GaussianCEM(100, 20, elites=10, color=0.0),
    )  # fmt: skip
    np.testing.assert_allclose(found[0].actions.sum(axis=0), [-2, 0.5], atol=0.02)
    np.testing.assert_allclose(found[1].actions, [[1, -1]] * 3, atol=0.001)
    assert found[1].value == pytest.approx(-5, abs=0.01)


def test_its_policy_acts_by_our_branches(swm):
    """Its own loop: plan, take two actions, plan again from where the carts stand now, each on its way away from 0."""
    starts = [(1.0, 0.5), (-2.0, -1.0)]
    env, idle = Cart(2, starts), Cart(2, starts)
    cost, config = BranchingCost(env), swm.PlanConfig(horizon=8, receding_horizon=2)
    solver = swm.solver.CEMSolver(cost, batch_size=2, num_samples=100, n_steps=6, topk=10, var_scale=3)
    policy = swm.policy.WorldModelPolicy(solver, config)
    policy.set_env(env)
    env.reset()
    idle.reset()
    gained, without = np.zeros((2, 2))
    for _ in range(20):
        gained += env.step(policy.get_action(cost.info()).astype(np.float32))[1]
        without += idle.step(np.zeros((2, 1), np.float32))[1]
    assert (gained > 0.5 * without).all()
    assert (np.abs(env.observe()) < 0.5).all()
