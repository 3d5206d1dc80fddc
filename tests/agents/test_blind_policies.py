"""Scripted policies that look at nothing: what they do, in any number of environments."""

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from agents.blind_policies import BLIND, STRAIGHT_STEPS, TURN_STEPS
from agents.walkers import FORWARD, LEFT, NOTHING, RIGHT


def play(name, steps=3000, count=3, seed=0, first=lambda t: False):
    policy = BLIND[name](Discrete(6), seed)
    return np.stack([policy.act(None, np.full(count, t == 0 or first(t))) for t in range(steps)])


def stretches(actions):
    edges = np.flatnonzero(np.diff(actions)) + 1
    return [(int(part[0]), len(part)) for part in np.split(actions, edges)]


@pytest.mark.parametrize("name", list(BLIND))
def test_a_seed_fixes_all_actions_and_environments_differ(name):
    actions = play(name)
    assert (actions == play(name)).all()
    assert ((actions >= 0) & (actions < 6)).all()
    if name != "still":
        assert (actions != play(name, seed=1)).any()
        assert (actions[:, 0] != actions[:, 1]).any()


def test_still_does_nothing():
    assert (play("still") == NOTHING).all()


def test_random_takes_all_actions_alike():
    assert np.bincount(play("random").ravel()) / 9000 == pytest.approx(np.full(6, 1 / 6), abs=0.02)


def test_sticky_repeats_itself():
    actions = play("sticky")
    repeated = (actions[1:] == actions[:-1]).mean()
    assert repeated == pytest.approx(0.8 + 0.2 / 6, abs=0.02)
    assert set(actions.ravel()) == set(range(6))


def test_forward_goes_straight_and_turns_in_turn():
    found = stretches(play("forward")[:, 0])[:-1]
    straight, turns = found[::2], found[1::2]
    assert {action for action, _ in straight} == {FORWARD}
    assert {action for action, _ in turns} == {LEFT, RIGHT}
    assert {min(n for _, n in straight), max(n for _, n in straight)} == set(STRAIGHT_STEPS)
    assert {min(n for _, n in turns), max(n for _, n in turns)} == set(TURN_STEPS)


def test_a_new_episode_begins_anew():
    actions = play("forward", first=lambda t: t % 40 == 0)
    assert (actions[::40] == FORWARD).all()
    assert (actions[:40] != FORWARD).any()
