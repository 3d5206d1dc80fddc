"""Policies that are told what they see, or shown other things."""

import numpy as np
import pytest

from agents.watching import ShownInstead, WatchingPolicy

BOTH, NONE = np.ones(2, bool), np.zeros(2, bool)


class Doubling:
    """Takes twice what it sees."""

    def act(self, observations, is_first):
        return 2 * np.asarray(observations) + is_first


def test_it_is_told_what_it_did_and_what_came_of_it():
    told = []
    policy = WatchingPolicy(Doubling(), lambda *given: told.append([np.array(each).tolist() for each in given]))
    assert policy.act(np.array([3, 4]), BOTH).tolist() == [7, 9]
    assert policy.act(np.array([5, 6]), NONE).tolist() == [10, 12]
    assert told == [[[3, 4], [0, 0], [True, True]], [[5, 6], [7, 9], [False, False]]]
    with pytest.raises(ValueError, match="3 environments given that go on, after 2"):
        policy.act(np.array([5, 6, 7]), np.zeros(3, bool))


def test_another_is_shown_in_place_of_what_is_seen():
    shown = []
    policy = WatchingPolicy(ShownInstead(Doubling(), lambda: shown[-1]), lambda seen, *_: shown.append(seen + 100))
    assert policy.act(np.array([3, 4]), BOTH).tolist() == [207, 209]
    assert len(shown) == 1
