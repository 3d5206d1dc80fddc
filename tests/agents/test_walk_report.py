"""What an agent did in a maze, in walks of which one can see what must be told."""

import numpy as np
import pytest

from agents.walk_report import WalkWatcher, mean_report

CORRIDOR = np.pad(np.ones((1, 7), np.uint8), 1)  # free cells (1..7, 1)


def standing(x, target, facing=1.0):
    return {
        "maze_layout": CORRIDOR, "agent_pos": np.array([x, 1.5]), "agent_dir": np.array([facing, 0.0]),
        "target_pos": np.array([target, 1.5]),
    }  # fmt: skip


def test_where_the_target_is_and_whether_it_is_reached():
    """It looks away from the target, turns to it, reaches it, and looks away from the next one, which it saw."""
    watcher = WalkWatcher()
    walk = [(standing(1.5, 5.5, -1.0), 2, 0.0), (standing(1.5, 5.5), 1, 0.0), (standing(3.5, 5.5), 1, 1.0)]
    walk += [(standing(5.5, 2.5), 4, 0.0)] + [(standing(5.5, 2.5), 2, 0.0)] * 23  # until 25 steps after the sighting
    said = []
    for info, action, reward in walk:
        said.append(watcher.see(info))
        watcher.did(action, reward)
    found = watcher.report()
    assert found["return"] == 1.0
    shares = [found[f"share, {name}"] for name in ("in sight", "seen before", "never seen")]
    assert shares == pytest.approx([2 / 27, 24 / 27, 1 / 27])
    assert said[1:3] == [1, 1]  # straight on
    assert found["agrees, in sight"] == 1.0
    assert found["agrees, seen before"] == np.mean(
        [action == intended for (_, action, _), intended in zip(walk[3:], said[3:], strict=True)]
    )
    assert (found["sightings"], found["reached"]) == (1.0, 1.0)
    assert found["cells"] == pytest.approx(3 / 7)
    assert found["stuck"] == pytest.approx(12 / 15)  # where it stands in the end
    short = WalkWatcher()
    short.see(walk[1][0])
    short.did(1, 1.0)
    assert (short.report()["stuck"], short.report()["reached"]) == (None, None)  # too short to tell


def test_who_stands_at_a_wall_is_stuck_and_reaches_nothing():
    watcher = WalkWatcher()
    for _ in range(60):
        watcher.see(standing(1.5, 5.5))
        watcher.did(0, 0.0)
    found = watcher.report()
    assert (found["stuck"], found["sightings"], found["reached"]) == (1.0, 1.0, 0.0)
    assert found["agrees, in sight"] == 0.0


def test_means_leave_out_what_never_came_up():
    assert mean_report([{"a": 1.0, "b": None, "c": None}, {"a": 3.0, "b": 5.0, "c": None}]) == {
        "a": 2.0, "b": 5.0, "c": None
    }  # fmt: skip
