"""Where the time goes: nested parts are told apart, nothing is counted twice, and what is watched stays as it was."""

import time

import gymnasium
import pytest

from agents import learning_time
from agents.learning_time import REST, Stopwatch, as_sentence, watch_learning
from agents.sb3 import make_ppo
from wmgym.dream import Dreams
from wmgym.parts import DREAM_PARTS
from wmgym.stepping import FastStepping


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when it is told to: a list with the seconds."""
    now = [100.0]
    monkeypatch.setattr(learning_time.time, "perf_counter", lambda: now[0])
    return now


class Kitchen:
    """Two methods that take their time; the second is inherited."""

    clock = None

    def cook(self, minutes):
        self.clock[0] += minutes
        self.taste(1)
        self.clock[0] += minutes
        return "soup"

    def taste(self, minutes):
        self.clock[0] += minutes
        if minutes < 0:
            raise ValueError("cold")


class Canteen(Kitchen):
    pass


def test_each_part_is_counted_without_those_inside_it(clock):
    Kitchen.clock, watch = clock, Stopwatch()
    with watch.watching(Kitchen, "cook", "cooking"), watch.watching(Kitchen, "taste", "tasting"), watch.part("all"):
        clock[0] += 5
        assert Kitchen().cook(3) == "soup"
        Kitchen().taste(2)
    assert watch.seconds == {"all": 5, "cooking": 6, "tasting": 3}


def test_a_part_that_fails_is_counted_and_closed(clock):
    Kitchen.clock, watch = clock, Stopwatch()
    with watch.watching(Kitchen, "taste", "tasting"), watch.part("all"):
        with pytest.raises(ValueError, match="cold"):
            Kitchen().taste(-1)
        clock[0] += 4
    assert watch.seconds == {"all": 4, "tasting": -1}


@pytest.mark.parametrize("owner", [Kitchen, Canteen], ids=["own", "inherited"])
def test_what_was_watched_is_as_before(owner):
    before = dict(vars(owner))
    with Stopwatch().watching(owner, "taste", "tasting"):
        assert owner.taste is not before.get("taste")
    assert dict(vars(owner)) == before


def test_a_learning_is_counted_whole(micro_folder):
    """All parts that occur are there, and together they are as long as it took."""
    originals = Dreams.start, FastStepping.imagine
    dreams = gymnasium.make_vec(
        "LSSVWM-MemoryMaze-v0", 2, checkpoint=str(micro_folder), observation="features", max_episode_steps=3
    )
    learner = make_ppo(dreams, seed=0, n_steps=8)
    with watch_learning(learner, DREAM_PARTS) as parts:
        began = time.perf_counter()
        learner.learn(16)
        took = time.perf_counter() - began
    assert set(parts) == {
        "dreaming", "starting dreams", "environment", "adapter", "acting", "learning", REST
    }  # fmt: skip
    assert min(parts.values()) > 0
    assert sum(parts.values()) == pytest.approx(took, abs=0.01)
    assert (Dreams.start, FastStepping.imagine) == originals


def test_the_sentence_begins_with_the_largest_part():
    told = as_sentence({"learning": 1.0, "dreaming": 3.0}, 2000)
    assert told == "500 steps a second; of the time: dreaming 75.0 %, learning 25.0 %."
