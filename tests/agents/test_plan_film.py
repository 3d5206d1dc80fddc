"""The film of plans: from which state each frame was imagined, and when it ends."""

import gymnasium
import numpy as np
from PIL import Image

from agents.plan_film import film_plans


def grey(value):
    return np.full((64, 64, 3), value, np.uint8)


class Real(gymnasium.Env):
    """Gets brighter by 10 a step, whatever is done; over after `last` steps; a reward in the third."""

    def __init__(self, last):
        self.last = last

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return grey(0), {}

    def step(self, action):
        self.steps += 1
        return grey(10 * self.steps), float(self.steps == 3), False, self.steps == self.last, {}


class Dream:
    """Gets brighter by what is done, from where it was restored."""

    num_envs = 1
    metadata = {"autoreset_mode": "Disabled"}  # noqa: RUF012
    single_observation_space = observation_space = single_action_space = action_space = None

    def reset(self, *, seed=None, options=None):
        raise AssertionError("it goes on from states only")

    def step(self, actions):
        self.value += int(actions[0])
        return grey(self.value)[None], np.zeros(1), np.zeros(1, bool), np.zeros(1, bool), {}

    def close(self):
        pass

    def clone_state(self, indices=None):
        raise AssertionError("states are given")

    def restore_state(self, state, indices=None):
        self.value = state


class Doing:
    """Does 11; where it stands is told by what it saw last."""

    def __init__(self):
        self.seen, self.first = [], []

    def act(self, observations, is_first):
        self.seen.append(int(observations[0, 0, 0, 0]))
        self.first.append(bool(is_first[0]))
        return np.array([11])

    def root(self):
        return [self.seen[-1]]


def test_each_plan_is_imagined_from_where_it_was_made(tmp_path):
    """A dream that is a level too bright a step is 1, 2, 1, 2, 1 off; from the first state alone it would be 1 to 5."""
    policy, path = Doing(), tmp_path / "film.gif"
    off = film_plans(Real(last=99), policy, Dream(), policy.root, steps=5, every=2, seed=0, path=path)
    assert off == (1 + 2 + 1 + 2 + 1) / 5
    assert policy.first == [True, False, False, False, False]
    with Image.open(path) as film:
        assert film.n_frames == 5
        frame = np.asarray(film.convert("RGB"))
        assert frame[80, 60].tolist() == [10] * 3  # real on the left, imagined on the right
        assert frame[80, 200].tolist() == [11] * 3


def test_it_ends_with_the_episode(tmp_path):
    policy, path = Doing(), tmp_path / "film.gif"
    film_plans(Real(last=3), policy, Dream(), policy.root, steps=5, every=2, seed=0, path=path)
    with Image.open(path) as film:
        assert film.n_frames == 3
