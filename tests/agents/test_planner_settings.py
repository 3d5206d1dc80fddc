"""One set of settings for all planners: what they cost is what they say, and what does not fit is refused."""

import numpy as np
import pytest

from agents.mpc import MPCAgent, TreeSearchAgent
from agents.planner_settings import NAMES, PlannerSettings
from tests.agents.branching_worlds import BranchingMaze
from tests.agents.test_mpc import states_of


@pytest.mark.parametrize("planner", NAMES)
def test_it_dreams_as_much_and_as_often_as_it_says(planner):
    settings = PlannerSettings(planner, horizon=4, hold=2, candidates=16, iterations=3, replan_every=2)
    rows, steps = 2, 8
    places = settings.places(1000, rows)
    acting, scratch = BranchingMaze(rows, [0, 5], 24), BranchingMaze(places, 0, 24)
    agent = settings.agent(scratch, rows=rows, seed=0, root=states_of(acting))
    assert isinstance(agent, TreeSearchAgent if planner == "tree" else MPCAgent)
    acting.reset()
    planned = []
    for step in range(steps):
        before = scratch.steps_made
        acting.step(agent.act(None, np.full(rows, step == 0)))
        planned.append(scratch.steps_made > before)
    assert planned == [step % settings.every == 0 for step in range(steps)]
    made = scratch.steps_made * places / (rows * steps)
    if planner == "tree":  # near the root there are fewer leaves than may be stepped at a time
        assert settings.dreamed_steps <= made <= 2 * settings.dreamed_steps
    else:
        assert made == settings.dreamed_steps


def test_no_more_branches_than_allowed_and_none_that_stay_empty():
    settings = PlannerSettings(candidates=64)
    assert [settings.places(branches, 4) for branches in (1, 100, 256, 1000)] == [1, 100, 256, 256]
    assert settings.states_at_once(100, 4) == 3 * 100 + 4 * 2
    tree = PlannerSettings("tree", candidates=64)
    assert [tree.places(branches, 4) for branches in (1, 16, 1000)] == [1, 16, 32]
    assert tree.states_at_once(16, 4) == 3 * 16 + 4 * (2 + 64)
    assert tree.tree(16, 4).parallel == 4


@pytest.mark.parametrize("planner", NAMES)
@pytest.mark.parametrize("candidates", [1, 2, 3, 7])
def test_few_candidates_are_a_search_too(planner, candidates):
    PlannerSettings(planner, candidates=candidates)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"replan_every": 7}, "replan_every = 7, expected at most horizon = 4"), ({"hold": 0}, "hold = 0"),
     ({"candidates": 0}, "candidates = 0"), ({"iterations": 0}, "iterations = 0"), ({"discount": 1.5}, "discount")],
)  # fmt: skip
@pytest.mark.parametrize("planner", NAMES)
def test_what_is_no_plan_is_refused(planner, changes, message):
    with pytest.raises(ValueError, match=message):
        PlannerSettings(planner, **changes)
