"""Bursts of one random action: how long, how often, and nothing else."""

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from agents.exploration import BURST_STEPS, WithBursts, start_for_share


class Always:
    """Always the same action, outside of the random ones, so that bursts can be told apart."""

    def act(self, observations, is_first):
        return np.full(len(is_first), 99)


def play(start, steps=4000, count=3, first=None, seed=0):
    policy = WithBursts(Always(), Discrete(6), start=start, seed=seed)
    never = np.zeros(count, bool)
    return np.stack([policy.act(None, never if first is None else first(t)) for t in range(steps)])


def runs(actions):
    """Return (action, length) of each stretch of equal actions."""
    edges = np.flatnonzero(np.diff(actions)) + 1
    return [(int(part[0]), len(part)) for part in np.split(actions, edges)]


def test_without_bursts_the_policy_is_left_alone():
    assert (play(0.0) == 99).all()


def test_bursts_repeat_one_action_for_as_long_as_they_say():
    found = [length for action, length in runs(play(0.01)[:, 0])[1:-1] if action != 99]
    assert len(found) > 20
    low, high = BURST_STEPS
    assert min(found) == low
    assert high <= max(found) <= 2 * high  # two bursts of the same action can follow each other
    assert sum(length > high for length in found) <= 2


def test_bursts_begin_as_often_as_asked():
    actions = play(0.05, steps=20_000)
    started = sum(a != 99 for column in actions.T for a, _ in runs(column))
    outside = (actions == 99).sum()
    assert started / (outside + started) == pytest.approx(0.05, rel=0.1)


def test_all_actions_occur_and_environments_have_bursts_of_their_own():
    actions = play(0.05)
    assert set(actions.ravel()) == {0, 1, 2, 3, 4, 5, 99}
    assert (actions[:, 0] != actions[:, 1]).any()


def test_a_new_episode_begins_without_the_old_burst():
    actions = play(1.0, steps=400, first=lambda t: np.array([t % 2 == 0, False, False]))
    lengths = [np.mean([length for _, length in runs(column)]) for column in actions.T]
    assert lengths[0] < 3  # cut at every second step, and at times two equal ones in a row: 2 / (1 - 1/6)
    assert min(lengths[1:]) > 4  # 5 on average, and the same


def test_the_same_seed_explores_the_same_way():
    assert (play(0.05) == play(0.05)).all()
    assert (play(0.05) != play(0.05, seed=1)).any()


def test_a_start_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="probability"):
        WithBursts(Always(), Discrete(6), start=1.5, seed=0)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_bursts_take_the_share_of_steps_that_they_shall(share):
    assert (play(start_for_share(share), steps=20_000) != 99).mean() == pytest.approx(share, abs=0.02)


def test_no_share_is_refused():
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"expected one in \[0, 1\]"):
            start_for_share(share)
