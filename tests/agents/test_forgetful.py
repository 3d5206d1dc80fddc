"""Forgetful: when a policy is told that an episode begins."""

import numpy as np
import pytest

from agents.forgetful import Forgetful


class Listener:
    """Keeps what it was told."""

    def __init__(self):
        self.told = []

    def act(self, observations, is_first):
        self.told.append(is_first.tolist())
        return observations


def test_it_forgets_every_so_many_steps_of_each_episode():
    listener = Listener()
    policy = Forgetful(listener, 3)
    starts = [[True, True], [False, False], [False, True], [False, False], [False, False], [False, False]]
    for step, is_first in enumerate(starts):
        assert policy.act(step, np.array(is_first)) == step
    assert [first for first, _ in listener.told] == [True, False, False, True, False, False]
    assert [second for _, second in listener.told] == [True, False, True, False, False, True]


def test_no_step_is_less_than_one():
    with pytest.raises(ValueError, match="every = 0"):
        Forgetful(Listener(), 0)
