"""The walk that goes exactly back."""

import numpy as np
import pytest

from agents.there_and_back import ThereAndBack

UNDONE_BY = (0, 2, 1, 4, 3)


def make(seed=0, **settings):
    return ThereAndBack(np.random.default_rng(seed), UNDONE_BY, **{"longest": 7} | settings)


def test_every_step_is_undone_in_turn():
    """Each action adds what undoes it to a stack of at most seven, or takes the top of it."""
    walker = make()
    for _ in range(500):
        before = list(walker._to_undo)
        action = walker.act(None, {})
        after = list(walker._to_undo)
        assert after in ([*before, UNDONE_BY[action]], before[:-1])
        assert len(after) <= 7
        if len(after) < len(before):
            assert action == before[-1]


def test_a_walk_comes_home_and_goes_as_far_as_it_may():
    walker, farthest, home = make(seed=1), 0, 0
    for _ in range(2000):
        walker.act(None, {})
        farthest, home = max(farthest, len(walker._to_undo)), home + (not walker._to_undo)
    assert farthest == 7
    assert home == pytest.approx(2000 / 8, rel=0.2)  # a way out has 4 steps on average, and as many back


def test_a_new_episode_begins_with_a_new_way():
    walker = make(seed=2)
    walker.act(None, {})
    assert walker._to_go > 0
    assert walker._to_undo
    walker.reset()
    assert walker._to_go == 0
    assert not walker._to_undo


@pytest.mark.parametrize("undone_by", [(1, 2, 0), (5, 0), (-1,)])
def test_actions_that_do_not_undo_one_another_are_refused(undone_by):
    with pytest.raises(ValueError, match="undone_by"):
        ThereAndBack(np.random.default_rng(0), undone_by, longest=3)


def test_a_way_of_no_steps_is_refused():
    with pytest.raises(ValueError, match="longest = 0"):
        make(longest=0)
