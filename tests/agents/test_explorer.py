"""The explorer goes by what it saw: targets out of sight change nothing, those seen once are found again."""

import numpy as np
import pytest

from agents.explorer import Explorer
from agents.walkers import FORWARD, RIGHT
from tests.agents.ring_walk import LAYOUT, info_of, walk

HIDDEN = [(6.5, 4.5), (3.5, 2.5), (0.5, 4.5)]


def explorer():
    return Explorer(np.random.default_rng(0), noise=0.0)


def test_where_an_unseen_target_is_changes_nothing():
    """From the lower left corner, looking right, none of these is in view."""
    courses = []
    for target in HIDDEN:
        pupil, actions = explorer(), []
        for x in np.linspace(0.5, 2.5, 5):
            actions.append(pupil.intend(info_of((x, 0.5), 0.0, target)))
        courses.append(actions)
    assert courses[0] == courses[1] == courses[2]


def test_a_target_seen_once_is_walked_to_from_out_of_sight():
    """Its dead end was looked into while another was the target; who did not looks down the nearer corner first."""
    knowing, unknowing = explorer(), explorer()
    knowing.intend(info_of((3.5, 4.5), -90.0, (0.5, 0.5)))
    later = info_of((0.5, 4.5), 0.0, (3.5, 2.5))
    assert knowing.intend(later) == FORWARD
    assert unknowing.intend(later) == RIGHT


def test_it_forgets_at_a_reset():
    """What it saw in the last episode does not lead it in the next."""
    pupil = explorer()
    pupil.intend(info_of((3.5, 4.5), -90.0, (0.5, 0.5)))
    pupil.reset()
    assert pupil.intend(info_of((0.5, 4.5), 0.0, (3.5, 2.5))) == RIGHT


def test_all_cells_are_seen_and_all_targets_reached_again_and_again():
    state, _ = walk(explorer(), steps=400)
    changes = (np.diff(state["target_pos"], axis=0) != 0).any(1).sum()
    assert changes >= 6
    cells = {(int(x), int(y)) for x, y in state["agent_pos"]}
    assert {(6, 4), (3, 2)} <= cells


def test_a_target_in_view_is_walked_to_at_once():
    assert explorer().intend(info_of((0.5, 0.5), 0.0, (4.5, 0.5))) == FORWARD


@pytest.mark.parametrize("heading", [0.0, 90.0, 180.0])
def test_what_lies_behind_or_behind_a_wall_is_not_seen(heading):
    """Of the ring's cells, only those in the view's 80 degrees and with no wall between count."""
    pupil = explorer()
    pupil.intend(info_of((0.5, 0.5), heading, (6.5, 4.5)))
    free = {(int(x), int(y)) for y, x in np.argwhere(LAYOUT)}
    seen = free - pupil._unseen
    ahead = {0.0: {(x, 0) for x in range(7)}, 90.0: {(0, y) for y in range(5)}, 180.0: {(0, 0)}}[heading]
    assert seen == ahead


def test_what_was_seen_is_forgotten_every_so_many_steps():
    """It knows a dead end for as long as it remembers, and then looks down the nearer corner first."""
    later = info_of((0.5, 4.5), 0.0, (3.5, 2.5))
    asked = {}
    for every in (2, 3, None):
        pupil = Explorer(np.random.default_rng(0), noise=0.0, forget_every=every)
        pupil.intend(info_of((3.5, 4.5), -90.0, (0.5, 0.5)))
        asked[every] = [pupil.intend(later) for _ in range(4)]
    assert asked[None] == [FORWARD] * 4
    assert asked[2] == [FORWARD, RIGHT, RIGHT, RIGHT]
    assert asked[3] == [FORWARD, FORWARD, RIGHT, RIGHT]


def test_it_cannot_forget_before_it_saw():
    with pytest.raises(ValueError, match="forget_every = 0"):
        Explorer(np.random.default_rng(0), forget_every=0)
