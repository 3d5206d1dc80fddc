"""Tiny vector environments that can be branched, and whose best actions are known: a maze, a bandit, a cart."""

from collections import deque

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

MAZE = (
    "S.#..",
    ".#...",
    "...#.",
    "##.#.",
    ".....",
)  # S is free as well
UP, RIGHT, DOWN, LEFT = range(4)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


def next_cells(rows=MAZE):
    """Return `[cells 4]`: where each action leads from each cell."""
    height, width = len(rows), len(rows[0])

    def go(cell, move):
        y, x = cell // width + move[0], cell % width + move[1]
        return y * width + x if 0 <= y < height and 0 <= x < width and rows[y][x] != "#" else cell

    return np.array([[go(cell, move) for move in MOVES] for cell in range(height * width)])


def distances(goal, rows=MAZE):
    """Return the length of the shortest path from each cell to the goal, by breadth-first search; inf if none."""
    to, found = next_cells(rows), np.full(len(next_cells(rows)), np.inf)
    found[goal] = 0
    waiting = deque([goal])
    while waiting:
        cell = waiting.popleft()
        for before in np.flatnonzero((to == cell).any(axis=1)):
            if found[before] == np.inf:
                found[before] = found[cell] + 1
                waiting.append(before)
    return found


class Branching(VectorEnv):
    """What the worlds here have in common: `cells`, `[num_envs ...]`, as state, and autoreset in any mode."""

    single_observation_space = gymnasium.spaces.Box(0, 1000, (1,), np.float64)

    def __init__(self, num_envs, mode=AutoresetMode.DISABLED, limit=None):
        self.num_envs, self.limit, self.mode = num_envs, limit, mode
        self.metadata = {"autoreset_mode": mode}
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.cells, self.steps = self.first_cells() * 0, np.zeros(num_envs, np.int64)
        self.over = np.zeros(num_envs, bool)
        self.steps_made, self.clones_made, self.most_restored = 0, 0, 0

    def reset(self, *, seed=None, options=None):
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self._start(mask)
        return self.observe(), {}

    def step(self, actions):
        assert self.action_space.contains(np.asarray(actions)), "not an element of the action space"
        waiting = self.over.copy()
        assert self.mode is not AutoresetMode.DISABLED or not waiting.any(), "an episode that is over was stepped"
        self.steps_made += 1
        rewards, terminated = self.move(np.asarray(actions))
        self.steps += 1
        truncated = np.zeros(self.num_envs, bool) if self.limit is None else self.steps >= self.limit
        if self.mode is AutoresetMode.NEXT_STEP:
            self._start(waiting)
            rewards[waiting], terminated[waiting], truncated[waiting] = 0.0, False, False
        self.over = terminated | truncated
        info = {}
        if self.mode is AutoresetMode.SAME_STEP and self.over.any():
            info = {"final_obs": self.observe(), "_final_obs": self.over.copy()}
            self._start(self.over.copy())
        return self.observe(), rewards, terminated, truncated, info

    def clone_state(self, indices=None):
        rows = np.arange(self.num_envs) if indices is None else np.asarray(indices)
        self.clones_made += len(rows)
        return self.cells[rows].copy(), self.steps[rows].copy(), self.over[rows].copy()

    def restore_state(self, state, indices=None):
        rows = np.arange(self.num_envs) if indices is None else np.asarray(indices)
        self.most_restored = max(self.most_restored, len(rows))
        self.cells[rows], self.steps[rows], self.over[rows] = state

    def observe(self):
        return self.cells.reshape(self.num_envs, -1).astype(np.float64)

    def _start(self, mask):
        self.cells[mask], self.steps[mask], self.over[mask] = self.first_cells()[mask], 0, False


class BranchingMaze(Branching):
    """The maze: reaching the goal pays 1 and ends the episode; walls are bumped into.

    Cells are numbered row by row. `start` is one cell, or one a place.
    """

    single_action_space = gymnasium.spaces.Discrete(4)

    def __init__(self, num_envs, start=0, goal=24, mode=AutoresetMode.DISABLED, limit=None):
        self.start, self.goal, self.to = np.broadcast_to(start, num_envs).copy(), goal, next_cells()
        super().__init__(num_envs, mode, limit)

    def first_cells(self):
        return self.start

    def move(self, actions):
        self.cells = self.to[self.cells, actions]
        return (self.cells == self.goal).astype(np.float64), self.cells == self.goal


class Bandit(Branching):
    """Each action pays what `pays` says for it, in any state; the state counts steps. An action ends it if `ends`.

    Actions are numbered from 3, to catch whoever takes them for numbers from 0.
    """

    def __init__(self, num_envs, pays, ends=(), mode=AutoresetMode.DISABLED, limit=None):
        self.pays, self.ends = np.asarray(pays, np.float64), np.isin(np.arange(len(pays)), ends)
        self.single_action_space = gymnasium.spaces.Discrete(len(pays), start=3)
        super().__init__(num_envs, mode, limit)

    def first_cells(self):
        return np.zeros(self.num_envs, np.int64)

    def move(self, actions):
        self.cells = self.cells + 1
        return self.pays[actions - 3], self.ends[actions - 3]


class Cart(Branching):
    """A cart pushed by a force; rewards are minus a quadratic cost of position, speed and force."""

    A, B, Q, R = np.array([[1.0, 0.2], [0.0, 1.0]]), np.array([[0.02], [0.2]]), np.diag([1.0, 0.1]), 0.1
    single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    single_action_space = gymnasium.spaces.Box(-12, 12, (1,), np.float32)

    def __init__(self, num_envs, start=(1.0, 0.0)):
        self.start = np.broadcast_to(np.array(start, np.float64), (num_envs, 2)).copy()
        super().__init__(num_envs)

    def first_cells(self):
        return self.start

    def move(self, actions):
        cost = np.einsum("bi,ij,bj->b", self.cells, self.Q, self.cells) + self.R * actions[:, 0].astype(float) ** 2
        self.cells = self.cells @ self.A.T + actions @ self.B.T
        return -cost, np.zeros(self.num_envs, bool)
