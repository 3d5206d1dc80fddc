"""Rounds that are kept: what is finished is not run again, and a killed run ends as if it had not been."""

import json
from contextlib import closing, nullcontext

import numpy as np
import pytest

from agents.rounds import measure_in_rounds
from agents.two_worlds import World
from agents.watching import WatchingPolicy
from tests.agents.branching_worlds import Bandit

SETTINGS = {"horizon": 3, "critic": None}


class Chance:
    """Pulls any arm; breaks off after some acts."""

    def __init__(self, rows, seed, left=1000):
        self.rng, self.rows, self.left = np.random.default_rng(seed), rows, left

    def act(self, observations, is_first):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return self.rng.integers(3, 6, size=self.rows)


def measure(file, make=Chance, episodes=5, settings=SETTINGS):
    """Two bandits of four pulls: rounds of 2, 2 and 1."""
    made = []

    def maker(rows, seed):
        made.append((rows, seed))
        return make(rows, seed)

    world = World(lambda: nullcontext(Bandit(2, [1.0, 2.0, 7.0], limit=4)), episodes)
    return measure_in_rounds("bandit", maker, world, steps=4, seed=10, file=file, settings=settings), made


def test_a_killed_run_goes_on_with_the_round_it_was_in(tmp_path):
    whole, made = measure(tmp_path / "whole.json")
    assert made == [(2, 10), (2, 12), (2, 14)]
    assert len(set(whole.evaluation.returns)) > 2
    assert whole.evaluation.lengths == (4,) * 5
    assert whole.acts == 12
    assert whole.seconds > 0
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path / "rounds.json", lambda rows, seed: Chance(rows, seed, left=4 if seed == 10 else 2))
    assert len(json.loads((tmp_path / "rounds.json").read_text())["returns"]) == 2
    again, made = measure(tmp_path / "rounds.json")
    assert made == [(2, 12), (2, 14)]
    assert again.evaluation == whole.evaluation
    assert again.acts == 12
    assert measure(tmp_path / "rounds.json") == (again, [])
    fewer, made = measure(tmp_path / "rounds.json", episodes=3)
    assert fewer.evaluation.returns == whole.evaluation.returns[:3]
    assert made == []


def test_rounds_of_other_settings_and_damaged_files_are_refused(tmp_path):
    file = tmp_path / "rounds.json"
    measure(file)
    with pytest.raises(ValueError, match=r"rounds\.json: holds rounds of other settings"):
        measure(file, settings=SETTINGS | {"horizon": 4})
    for text in (file.read_text()[:50], "[]", '{"returns": []}'):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"rounds\.json: cannot be read.*delete it"):
            measure(file)


def test_who_watches_is_told_what_was_done_in_the_end():
    """And not by a policy within, before anything is done."""
    told, order = [], []

    class Acts:
        def __init__(self):
            self.n = 0

        def act(self, observations, is_first):
            self.n += 1
            order.append("act")
            return np.full(len(is_first), self.n)

    def watch(observations, actions, is_first):
        order.append("watch")
        told.append((observations, actions.tolist(), is_first.tolist()))

    policy = WatchingPolicy(Acts(), watch)
    with pytest.raises(ValueError, match="2 environments given that go on, after 0"):
        policy.act("a", np.zeros(2, bool))
    policy.act("a", np.ones(2, bool))[:] = 77  # what is handed out is not what is remembered
    policy.act("b", np.array([False, True]))
    policy.act("c", np.zeros(2, bool))
    assert order == ["watch", "act"] * 3
    assert told == [("a", [0, 0], [True, True]), ("b", [1, 1], [False, True]), ("c", [2, 2], [False, False])]
    with pytest.raises(ValueError, match="3 environments given that go on, after 2"):
        policy.act("d", np.zeros(3, bool))


def test_worlds_are_closed(tmp_path):
    """What a world opens is given back, whatever happens in it."""
    closed = []

    class Closing(Bandit):
        def close(self, **kwargs):
            closed.append(True)

    world = World(lambda: closing(Closing(2, [1.0, 2.0, 7.0], limit=2)), 2)
    with pytest.raises(KeyboardInterrupt):
        measure_in_rounds(
            "bandit",
            lambda rows, seed: Chance(rows, seed, 1),
            world,
            steps=2,
            seed=0,
            file=tmp_path / "r.json",
            settings={},
        )
    assert closed == [True]
