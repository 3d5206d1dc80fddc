"""Small worlds that show images of a known content, one for each kind of action and observation.

`gymnasium.make("tests.wmgym.image_worlds:Toy-v0", kind=...)`. Frame t is grey level `10 * t` everywhere, with the
last action, as the model counts it, in the red of the upper left corner. An episode terminates after 2 to 11 steps, by
its seed; every step pays 0.5, the last one -2.
"""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

ACTIONS = {
    "discrete": Discrete(3),
    "six": Discrete(6),
    "from_one": Discrete(4, start=1),
    "pairs": MultiDiscrete([3, 2], start=[1, 0]),
    "six_int32": MultiDiscrete([3, 2], dtype=np.int32),
    "box": Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32)),
}
IMAGE = Box(0, 255, (20, 30, 3), np.uint8)
OBSERVATIONS = {
    "image": IMAGE,
    "one_image": Dict({"camera": IMAGE, "speed": Box(-1, 1, (2,))}),
    "two_images": Dict({"camera": IMAGE, "map": Box(0, 255, (8, 8, 3), np.uint8)}),
    "no_image": Dict({"speed": Box(-1, 1, (2,))}),
    "floats": Box(0, 1, (20, 30, 3), np.float32),
    "grey": Box(0, 255, (20, 30), np.uint8),
    "grey_axis": Box(0, 255, (20, 30, 1), np.uint8),
    "colours_first": Box(0, 255, (3, 20, 30), np.uint8),
    "numbers": Box(-1, 1, (4,)),
    "growing": IMAGE,
    "lying": IMAGE,
}


class ToyWorld(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, actions="discrete", observation="image", render_mode=None):
        self.action_space, self.observation_space = ACTIONS[actions], OBSERVATIONS[observation]
        self.render_mode, self._kind = render_mode, observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.red = 0, 0
        self.ends_after = int(self.np_random.integers(2, 12))
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.count += 1
        self.red = int(np.sum(np.asarray(action, np.float64) * 10)) % 256
        over = self.count == self.ends_after
        return self._observe(), -2.0 if over else 0.5, over, False, {}

    def render(self):
        return self._image(40, 20) if self.render_mode == "rgb_array" else None

    def _image(self, height, width):
        image = np.full((height, width, 3), 10 * self.count, np.uint8)
        image[0, 0, 0] = self.red
        return image

    def _observe(self):
        image = self._image(20, 30)
        if isinstance(self.observation_space, Dict):
            made = {"camera": image, "speed": np.zeros(2, np.float32), "map": np.full((8, 8, 3), 7, np.uint8)}
            return {key: made[key] for key in self.observation_space.spaces}
        if self._kind == "growing":
            return self._image(20, 30 + self.count)
        if self._kind == "lying":
            return (image / 255).astype(np.float32)
        if self._kind == "image":
            return image
        return self.observation_space.sample()


class EndlessWorld(ToyWorld):
    """Has neither time limit nor end."""

    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        self.count %= 20
        return observation, reward, False, truncated, info


gymnasium.register("Toy-v0", f"{__name__}:ToyWorld", max_episode_steps=8, disable_env_checker=True)
gymnasium.register("Endless-v0", f"{__name__}:EndlessWorld", disable_env_checker=True)
TOY = "tests.wmgym.image_worlds:Toy-v0"
ENDLESS = "tests.wmgym.image_worlds:Endless-v0"
