"""MineRL without Minecraft: an environment with the interface that `minerl_interface.json` records, and its manners.

MineRL cannot be installed where the tests run (JDK 8, Gradle, downloads from Mojang), so this stands in for it:

* `reset()` takes nothing and returns a dictionary; `step` takes one and returns four values;
* `seed(int)` holds for the next `reset` only (`minerl/env/_multiagent.py`);
* an action must have exactly the keys of the space, each in its space (stricter than MineRL, which looks at no key);
* stepping after the end is an error; frames are upside down in memory, as `POVObservation.from_hero` leaves them;
* when the connection breaks, the observation is random and the information has `error`;
* the step limit is that of old gym's `TimeLimit`, and a mission may end some ticks before, as Minecraft's clock says.
"""

from collections import OrderedDict
from types import SimpleNamespace

import numpy as np

from tests.wmgym.minerl_interface import recorded

POSITION, TURNED = "position", "turned"


class Space:
    """One of MineRL's spaces."""

    def __init__(self, told):
        self.type = told["type"]
        self.shape = tuple(told.get("shape", ()))
        self.told = told

    def contains(self, value):
        told = self.told
        if self.type == "Discrete":
            return isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= value < told["n"]
        if self.type == "Enum":
            return isinstance(value, str) and value in told["values"]
        inside = isinstance(value, np.ndarray) and value.shape == self.shape and value.dtype == told["dtype"]
        return inside and bool((value >= told["low"]).all() and (value <= told["high"]).all())


class DictSpace:
    """A dictionary of them, with the no-op that was recorded."""

    def __init__(self, told, idle=None):
        self.spaces = OrderedDict((key, Space(part)) for key, part in told.items())
        self._idle = idle

    def contains(self, value):
        return set(value) == set(self.spaces) and all(self.spaces[key].contains(part) for key, part in value.items())

    def no_op(self):
        boxes = {key: np.array(v, np.float32) if isinstance(v, list) else v for key, v in self._idle.items()}
        return OrderedDict(boxes)


class FakeMineRL:
    """A player who walks and turns; the frame is a pattern of seed, position and heading.

    `events` says what happens in a step, by its number from 1 on: "done", or "error". `reward` comes in each.
    """

    def __init__(self, task="MineRLTreechop-v0", version="minerl 0.4.4", limit=None, events=None, reward=1.0):
        told = recorded()[version][task]
        self.action_space = DictSpace(told["action_space"], told["no_op"])
        self.observation_space = DictSpace(told["observation_space"])
        self.spec = SimpleNamespace(max_episode_steps=limit or told["max_episode_steps"])
        self.events, self.reward = events or {}, reward
        self.sent, self.world_seeds, self.closed = [], [], 0
        self._next_seed, self._over = None, True

    def seed(self, seed=None):
        assert isinstance(seed, int) or seed is None, "Seed must be an int!"
        self._next_seed = seed

    def reset(self):
        seed, self._next_seed = self._next_seed, None
        self.world_seeds.append(seed)
        self._world = np.random.default_rng(seed)
        self._pattern = self._world.integers(0, 200, self.observation_space.spaces["pov"].shape, np.uint8)
        self._steps, self._over, self.position, self.heading = 0, False, 0, 0.0
        return self._observe()

    def step(self, action):
        if self._over:
            raise RuntimeError("Attempted to step an environment server with done=True")
        assert self.action_space.contains(action), action
        self.sent.append(action)
        self._steps += 1
        self.position += action.get("forward", 0) - action.get("back", 0)
        self.heading += float(action["camera"][1])
        event = self.events.get(self._steps)
        info = {"location_stats": {"xpos": float(self.position)}}
        self._over = done = event in ("done", "error")
        if event == "error":
            noise = np.random.default_rng(0).integers(0, 256, self._pattern.shape, np.uint8)
            return OrderedDict(pov=noise), 0, True, {"error": "Connection timed out!"}
        limit = self.spec.max_episode_steps
        if limit is not None and self._steps >= limit:  # as gym.wrappers.TimeLimit has it
            info["TimeLimit.truncated"] = not done
            done = self._over = True
        return self._observe(), self.reward, done, info

    def close(self):
        self.closed += 1

    def _observe(self):
        shown = np.roll(self._pattern, self.position + int(self.heading), axis=1) + np.uint8(self._steps % 50)
        observation = OrderedDict(pov=shown[::-1].copy()[::-1])
        if "compass" in self.observation_space.spaces:
            observation["compass"] = OrderedDict(angle=np.array(self.heading))
        return observation
