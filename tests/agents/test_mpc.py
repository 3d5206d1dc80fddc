"""Agents that plan: shortest paths in a maze, a regulator with its exact value, and a dream that is left as it was."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiDiscrete
from gymnasium.vector import AutoresetMode

from agents.box_plans import GaussianCEM, GaussianMPPI
from agents.branches import roll
from agents.discrete_plans import CategoricalCEM, CategoricalMPPI, RandomShooting, plan_discrete
from agents.evaluate import evaluate
from agents.interfaces import BranchingVectorEnv, Policy
from agents.mpc import MPCAgent, MPCConfig, TreeSearchAgent
from agents.tree_search import TreeSearch
from tests.agents.branching_worlds import Bandit, BranchingMaze, Cart, distances

NEAR = [(0, 17), (20, 24), (10, 5), (0, 12), (12, 24), (15, 5), (4, 8), (2, 9), (10, 23), (10, 22)]
"""Start and goal, 1 to 5 steps apart: what a plan reaches."""
FAR = [(0, 24), (0, 4), (4, 0), (24, 0), (20, 3), (14, 5), (9, 21), (1, 4)]
"""Start and goal, 6 to 9 steps apart: further than a plan."""
SEARCHES = [
    RandomShooting(8000, repeat=0.0),
    CategoricalCEM(1500, 4, elites=40, repeat=0.0),
    CategoricalMPPI(1500, 4, repeat=0.0),
]
"""There are 1024 sequences: shooting misses one with probability e^-7.8."""


def short_sighted(goal):
    """Return a critic that knows what a cell is worth up to four steps from the goal, and nothing beyond."""
    away = distances(goal)
    values = np.where(away <= 4, 0.9 ** (away - 1), 0.0)  # the reward comes with the last step
    return lambda cells: values[cells[:, 0].astype(int)]


def by_goal(pairs):
    """Return `{goal: starts}`."""
    goals = sorted({goal for _, goal in pairs})
    return {goal: [start for start, other in pairs if other == goal] for goal in goals}


def states_of(env):
    return lambda: [env.clone_state([place]) for place in range(env.num_envs)]


def run(agent, acting, most=40):
    """Act until every episode is over; return steps and rewards of each."""
    observations, _ = acting.reset()
    steps, gained, running = np.zeros((3, acting.num_envs))
    running, is_first = np.ones(acting.num_envs, bool), np.ones(acting.num_envs, bool)
    for _ in range(most):
        observations, rewards, terminated, _, _ = acting.step(agent.act(observations, is_first))
        steps += running
        gained += running * rewards
        running &= ~terminated
        is_first = terminated
        if not running.any():
            break
        if terminated.any() and acting.metadata["autoreset_mode"] is AutoresetMode.DISABLED:
            acting.reset(options={"reset_mask": terminated})
    return steps, gained


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
@pytest.mark.parametrize(("pairs", "critic"), [(NEAR, None), (FAR, short_sighted)], ids=["near", "far"])
def test_shortest_paths_are_walked(search, pairs, critic):
    """All starts with one goal at a time, planned in an environment of their own."""
    for goal, starts in by_goal(pairs).items():
        acting, scratch = BranchingMaze(len(starts), starts, goal), BranchingMaze(256, 0, goal)
        agent = MPCAgent(
            scratch,
            search,
            MPCConfig(5, discount=0.9),
            seed=0,
            critic=None if critic is None else critic(goal),
            root=states_of(acting),
        )
        steps, gained = run(agent, acting)
        assert steps.tolist() == distances(goal)[starts].tolist()
        assert (gained == 1).all()


@pytest.mark.parametrize(("pairs", "critic"), [(NEAR, None), (FAR, short_sighted)], ids=["near", "far"])
def test_a_tree_walks_shortest_paths(pairs, critic):
    """Those of which it sees anything: a tree of four actions a node is four deep after 1 + 4 + 16 + 64 + 256 paths."""
    away = 4 if critic is None else 8
    seen = [(start, goal) for start, goal in pairs if distances(goal)[start] <= away]
    assert len(seen) >= 7
    for goal, starts in by_goal(seen).items():
        acting, scratch = BranchingMaze(len(starts), starts, goal), BranchingMaze(8, 0, goal)
        agent = TreeSearchAgent(
            scratch,
            TreeSearch(350, parallel=4, discount=0.9),
            critic=None if critic is None else critic(goal),
            root=states_of(acting),
        )
        steps, _ = run(agent, acting)
        assert steps.tolist() == distances(goal)[starts].tolist()


def test_who_looks_one_step_ahead_goes_astray():
    """What the tests above are worth: the same critic, and one action tried each; and two sequences without one."""
    lost = 0
    for goal, starts in by_goal(FAR).items():
        acting, scratch = BranchingMaze(len(starts), starts, goal), BranchingMaze(8, 0, goal)
        search = TreeSearch(4, parallel=1, exploration=1000.0, discount=0.9)
        agent = TreeSearchAgent(scratch, search, critic=short_sighted(goal), root=states_of(acting))
        lost += (run(agent, acting)[0] > distances(goal)[starts]).sum()
    assert lost >= len(FAR) / 2
    acting, scratch = BranchingMaze(1, 0, 24), BranchingMaze(256, 0, 24)
    agent = MPCAgent(scratch, RandomShooting(2, keep=0), MPCConfig(8, discount=0.9), seed=0, root=states_of(acting))
    assert run(agent, acting)[0] > 2 * distances(24)[0]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_an_environment_plans_in_itself_and_is_left_as_it_was(mode):
    """Four places, all acting: branches are taken in the same places and put back."""
    starts = [14, 22, 12, 17]
    env = BranchingMaze(4, starts, 24, mode)
    agent = MPCAgent(env, CategoricalCEM(100, 3, elites=10), MPCConfig(6, discount=0.9), seed=0)
    env.reset()
    before = env.clone_state()
    agent.act(None, np.ones(4, bool))
    for ours, theirs in zip(before, env.clone_state(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert list(evaluate(agent, env, episodes=4, seed=0).lengths) == distances(24)[starts].tolist()


def test_planning_goes_on_as_if_nothing_came_after_an_end():
    """2 a step, or 5 and an end: of four steps the best are 2 + 2 + 2 + 5. Ends that did not count would give 20."""
    env = Bandit(16, [2.0, 5.0, 0.0], ends=[1], mode=AutoresetMode.SAME_STEP)
    env.reset()
    agent = MPCAgent(env, CategoricalCEM(100), MPCConfig(4, replan_every=4, discount=1.0), seed=0)
    acted = [agent.act(None, np.full(16, step == 0))[0] for step in range(4)]
    assert acted == [3, 3, 3, 4]


def riccati():
    """Return `P` and `K` of the endless problem: `x' P x` is the least cost, `-K x` the best action."""
    value, q, r, a, b = np.eye(2), Cart.Q, Cart.R, Cart.A, Cart.B
    for _ in range(500):
        gain = b.T @ value @ a / (r + b.T @ value @ b)
        value = q + a.T @ value @ (a - b @ gain)
    return value, gain


@pytest.mark.parametrize("search", [GaussianCEM(64, 12, keep=2), GaussianMPPI(64, 12, keep=2, least_std=0.0)])
def test_one_step_and_the_exact_value_is_optimal_control(search):
    """With the infinite-horizon cost-to-go as critic, the action after one step of planning is `-K x`."""
    value, gain = riccati()
    starts = [[1.0, 0.0], [-2.0, 1.0], [0.5, -1.5]]
    acting, scratch = Cart(3, starts), Cart(20)
    acting.reset()

    def critic(seen):
        return -np.einsum("bi,ij,bj->b", seen, value, seen)

    config = MPCConfig(1, discount=1.0)
    agent = MPCAgent(scratch, search, config, seed=0, critic=critic, root=states_of(acting))
    acted = agent.act(None, np.ones(3, bool))
    assert acted.dtype == np.float32
    np.testing.assert_allclose(acted, -np.array(starts) @ gain.T, atol=0.02)
    blind = MPCAgent(scratch, search, config, seed=0, root=states_of(acting))
    np.testing.assert_allclose(blind.act(None, np.ones(3, bool)), 0, atol=0.02)  # a force costs, and nothing comes


def test_a_cart_is_brought_home():
    """Sixty steps cost within 1 % of the optimum: plans of 6 steps, carried over from step to step, and the value."""
    value, _ = riccati()
    acting, scratch = Cart(1, [3.0, 0.5]), Cart(64)
    acting.reset()
    agent = MPCAgent(
        scratch,
        GaussianCEM(64, 4),
        MPCConfig(6, discount=1.0),
        seed=0,
        critic=lambda seen: -np.einsum("bi,ij,bj->b", seen, value, seen),
        root=states_of(acting),
    )
    cost = 0.0
    for step in range(60):
        _, rewards, *_ = acting.step(agent.act(None, np.array([step == 0])))
        cost -= rewards[0]
    least = np.array([3.0, 0.5]) @ value @ np.array([3.0, 0.5])
    assert least * (1 - 1e-6) < cost < 1.01 * least


def test_actions_are_held_and_plans_are_made_when_they_are_due():
    acting, scratch, asked = BranchingMaze(1, 0, 24), BranchingMaze(16, 0, 24), []

    def root():
        asked.append(acting.clones_made)
        return states_of(acting)()

    config = MPCConfig(6, hold=2, replan_every=3)
    agent = MPCAgent(scratch, RandomShooting(16), config, seed=0, root=root)
    acting.reset()
    made, acted = [], []
    for step in range(12):
        before = scratch.steps_made
        acted.append(agent.act(None, np.array([step == 0]))[0])
        made.append(scratch.steps_made - before)
        acting.step(acted[-1:])
    assert [steps > 0 for steps in made] == [True, *[False] * 5] * 2
    assert acted[::2] == acted[1::2]
    assert len(set(acted)) > 1
    assert max(made) <= 12  # one chunk of 16 candidates, 6 actions of 2 steps
    assert len(asked) == 12


def test_a_new_episode_forgets_the_plan_of_its_row_only(monkeypatch):
    acting, scratch, given = BranchingMaze(3, [0, 4, 22], 24), BranchingMaze(64, 0, 24), []

    def spy(*args):
        given.append(args[-1])
        return plan_discrete(*args)

    monkeypatch.setattr("agents.mpc.plan_discrete", spy)
    agent = MPCAgent(scratch, CategoricalCEM(), MPCConfig(8, replan_every=2), seed=0, root=states_of(acting))
    acting.reset()
    agent.act(None, np.ones(3, bool))
    first = list(agent.plans)
    agent.act(None, np.array([False, True, False]))  # the others have an action left
    second = list(agent.plans)
    assert second[0] is first[0]
    assert second[1] is not first[1]
    agent.act(None, np.zeros(3, bool))  # all but the row that started later
    agent.act(None, np.zeros(3, bool))
    assert given == [[None] * 3, [None], [first[0], first[2]], [second[1]]]


def test_a_row_does_not_depend_on_the_others():
    """Row 0 alone, and beside others: the same actions from the same generator, whatever the number of places."""

    def walk(starts, places):
        acting, scratch = BranchingMaze(len(starts), starts, 24), BranchingMaze(places, 0, 24)
        agent = MPCAgent(scratch, CategoricalCEM(20, 2, elites=4), MPCConfig(6), seed=3, root=states_of(acting))
        acting.reset()
        acted = []
        for step in range(6):
            acted.append(agent.act(None, np.full(len(starts), step == 0))[0])
            acting.step(np.array([acted[-1], *[0] * (len(starts) - 1)]))
        return acted

    assert walk([0], 7) == walk([0, 4, 9], 7) == walk([0, 10], 64)


def test_bad_arguments_are_named():
    maze = BranchingMaze(2)
    with pytest.raises(ValueError, match="GaussianCEM cannot plan actions of Discrete"):
        MPCAgent(maze, GaussianCEM(), seed=0)
    with pytest.raises(ValueError, match="CategoricalCEM cannot plan actions of Box"):
        MPCAgent(Cart(1), CategoricalCEM(), seed=0)
    with pytest.raises(ValueError, match="there is no end; expected a Discrete"):
        TreeSearchAgent(Cart(1))
    maze.single_action_space = MultiDiscrete([2, 2])
    with pytest.raises(ValueError, match="cannot plan actions of MultiDiscrete"):
        MPCAgent(maze, CategoricalCEM(), seed=0)
    with pytest.raises(ValueError, match="replan_every = 9, expected at most horizon = 8"):
        MPCConfig(8, replan_every=9)
    with pytest.raises(ValueError, match=r"discount = 2\.0, expected"):
        MPCConfig(discount=2.0)
    nan = Bandit(2, [np.nan, np.nan])
    nan.reset()
    with pytest.raises(ValueError, match="every candidate for row 0 returned NaN"):
        MPCAgent(nan, CategoricalCEM(), seed=0).act(None, np.ones(2, bool))


@pytest.fixture(scope="module")
def dream():
    """The shipped world model, made by its id; on one thread, because two wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    env = gymnasium.make_vec("wmgym:LSSVWM-MemoryMaze-v0", num_envs=2, observation="features")
    env.reset(seed=0)
    yield env
    env.close()
    torch.set_num_threads(threads)


def test_a_dream_is_planned_in_and_left_bit_equal(dream):
    """By both agents; and planning changes nothing of what comes after."""

    def critic(features):
        return features[:, 0]

    search = CategoricalCEM(4, 2, elites=2, keep=1)
    agents = [
        MPCAgent(dream, search, MPCConfig(2), seed=0, critic=critic),
        TreeSearchAgent(dream, TreeSearch(4, parallel=2), critic=critic),
    ]
    assert isinstance(dream, BranchingVectorEnv)
    before = dream.clone_state()
    expected = [dream.step([1, 2])[0] for _ in range(2)]
    dream.restore_state(before)
    for agent in agents:
        assert isinstance(agent, Policy)
        assert dream.action_space.contains(agent.act(None, np.ones(2, bool)))
        after = dream.clone_state()
        assert len(tensors_of(before)) > 5
        for ours, theirs in zip(tensors_of(before), tensors_of(after), strict=True):
            assert ours.equal(theirs)
    for observations in expected:
        np.testing.assert_array_equal(dream.step([1, 2])[0], observations)


def test_candidates_of_one_dream_meet_the_same_chance(dream):
    """The same actions in both places end alike, to rounding; others do not."""
    state = dream.clone_state([0])
    same = roll(dream, [state] * 2, np.array([[1, 1, 2], [1, 1, 2]]), 0.9).observations
    np.testing.assert_allclose(same[1], same[0], atol=1e-4)
    other = roll(dream, [state] * 2, np.array([[1, 1, 2], [3, 5, 5]]), 0.9).observations
    np.testing.assert_allclose(other[0], same[0], atol=1e-4)
    assert np.abs(other[1] - other[0]).max() > 1e-2


def tensors_of(state):
    """Return all tensors in a state, however deep."""
    if isinstance(state, torch.Tensor):
        return [state]
    parts = vars(state).values() if hasattr(state, "__dataclass_fields__") else state
    return [each for part in parts if not isinstance(part, str | None) for each in tensors_of(part)]
