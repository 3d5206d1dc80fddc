"""A world in which the right action is in sight: for learners."""

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

SAME_STEP = AutoresetMode.SAME_STEP


class BatchedWorld(VectorEnv):
    """Pays 1 for choosing the one-hot entry shown, ends by time limit; steps all as one, on tensors."""

    metadata = {"render_modes": ["rgb_array"], "autoreset_mode": SAME_STEP}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, num_envs=8, symbols=4, limit=5, endless=False):
        self.num_envs, self.symbols, self.limit, self.endless = num_envs, symbols, limit, endless
        self.single_observation_space = gymnasium.spaces.Box(0, 1, (symbols,), np.float32)
        self.single_action_space = gymnasium.spaces.Discrete(symbols)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.buffer = torch.zeros(num_envs, symbols)  # reused at every step, as a device would

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.options = options
        self.steps = np.zeros(self.num_envs, dtype=int)
        return self.show(), {}

    def show(self):
        self.shown = self.np_random.integers(self.symbols, size=self.num_envs)
        self.buffer.zero_()
        if not self.endless:
            self.buffer[np.arange(self.num_envs), self.shown] = 1
        return self.buffer

    def step(self, actions):
        self.steps += 1
        rewards = torch.ones(self.num_envs) if self.endless else torch.from_numpy(1.0 * (actions == self.shown))
        truncated = torch.from_numpy(self.steps >= self.limit)
        infos = {}
        observations = self.show()
        if truncated.any():  # all at once
            infos = {"final_obs": observations.clone().numpy(), "_final_obs": truncated.numpy()}
            self.steps[:] = 0
            observations = self.show()
        return observations, rewards, torch.zeros(self.num_envs, dtype=torch.bool), truncated, infos

    def render(self):
        return tuple(np.full((4, 4, 3), i, np.uint8) for i in range(self.num_envs))

    def double(self, number):
        return 2 * number


class Grids(BatchedWorld):
    """Shows grids of floats, as latents are; the plane of the entry shown is one, the others are zero."""

    def __init__(self):
        super().__init__()
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (5, 8, 6), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def show(self):
        planes = torch.zeros(self.num_envs, *self.single_observation_space.shape)
        super().show()
        planes[:, : self.symbols] = self.buffer[:, :, None, None]
        return planes
