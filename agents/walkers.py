"""Scripted policies for mazes, to record with and to compare with; they read observation and `info`.

Those that find their way need the `info` of an environment made with `global_observables=True`: positions
in cells from the bottom-left corner and `maze_layout[y, x]`, 0 where there is wall. Actions are the six of
Memory Maze.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agents.sticky import Sticky, check_probability

NOTHING, FORWARD, LEFT, RIGHT, FORWARD_LEFT, FORWARD_RIGHT = range(6)
ACTION_COUNT = 6
BURST_STEPS = 5

Cell = tuple[int, int]
Point = NDArray[np.float64]


@runtime_checkable
class Walker(Protocol):
    """Something that walks: asked once per step, told when an episode starts."""

    def reset(self) -> None:
        """Forget the last episode; generators go on."""

    def act(self, observation: Any, info: Mapping[str, Any]) -> int:
        """Choose an action, from the last observation and information of the environment."""


class UniformWalker:
    """Choose every action uniformly at random.

    Beside `agents.space_walkers.UniformActions` because it draws from its generator itself, where that one seeds a copy
    of the space: with either's draws the recordings of the other's seeds would be other walks.

    Args:
        rng: The generator consumed, one draw per step.
        actions: How many there are to choose from.
    """

    def __init__(self, rng: np.random.Generator, actions: int = ACTION_COUNT) -> None:
        self._rng, self._actions = rng, actions

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self, observation: Any, info: Mapping[str, Any]) -> int:
        """Return any of the actions."""
        return int(self._rng.integers(self._actions))


class StickyWalker(Sticky[int]):
    """Repeat the last action with a fixed probability, else choose as `UniformWalker` does.

    Args:
        rng: The generator consumed.
        repeat: Probability of repeating the last action, in [0, 1].
        actions: How many there are to choose from.
    """

    def __init__(self, rng: np.random.Generator, repeat: float = 0.8, actions: int = ACTION_COUNT) -> None:
        super().__init__(UniformWalker(rng, actions).act, rng, repeat)


class GoalWalker:
    """Walk to goals by shortest paths, with bursts of random actions; subclasses choose the goals.

    Args:
        rng: The generator consumed.
        noise: Share of the steps spent in bursts of five random actions, in [0, 1].
        held: A burst repeats one random action, and so leads into walls, in place of drawing one for each step.
    """

    def __init__(self, rng: np.random.Generator, noise: float = 0.1, *, held: bool = False) -> None:
        self._rng, self._held, self._burst_action = rng, held, NOTHING
        noise = check_probability("noise", noise)
        self._burst_start = noise / (noise + BURST_STEPS * (1 - noise))
        self.reset()

    def reset(self) -> None:
        """Forget goal, burst and tracks of the last episode."""
        self._burst_left = 0
        self._tracks: deque[Point] = deque(maxlen=8)

    def act(self, observation: Any, info: Mapping[str, Any]) -> int:
        """Return the action that leads on to the goal, or one of a random burst.

        Raises:
            ValueError: `info` has no positions.
        """
        intended = self.intend(info)
        position = np.asarray(info["agent_pos"], np.float64)
        if self._burst_left == 0 and (self._is_stuck(position) or self._rng.random() < self._burst_start):
            self._burst_left = BURST_STEPS
            self._tracks.clear()
        if self._burst_left > 0:
            if not self._held or self._burst_left == BURST_STEPS:
                self._burst_action = int(self._rng.integers(ACTION_COUNT))
            self._burst_left -= 1
            return self._burst_action
        return intended

    def intend(self, info: Mapping[str, Any]) -> int:
        """Return the action that leads on to the goal; asked once a step, whoever acts.

        Raises:
            ValueError: `info` has no positions.
        """
        if "agent_pos" not in info:
            raise ValueError(
                "info has no 'agent_pos', which this walker steers by. "
                "Fix: make the environment with global_observables=True."
            )
        position, direction = (np.asarray(info[key], np.float64) for key in ("agent_pos", "agent_dir"))
        return steer(position, direction, next_waypoint(info["maze_layout"], position, self._goal(position, info)))

    def _is_stuck(self, position: Point) -> bool:
        """Say whether the last eight steps, in which the walker could also turn around, led nowhere."""
        self._tracks.append(position.copy())
        full = len(self._tracks) == self._tracks.maxlen
        return full and float(np.abs(self._tracks[0] - position).max()) < 0.05

    def _goal(self, position: Point, info: Mapping[str, Any]) -> Point:
        """Return where to walk to, in cells."""
        raise NotImplementedError


class TargetSeeker(GoalWalker):
    """Walk to the current target, again and again: knows the whole maze, and is dense in rewards."""

    @property
    def knows_target(self) -> bool:
        """Whether it knows where the current target is: always."""
        return True

    def _goal(self, position: Point, info: Mapping[str, Any]) -> Point:
        return np.asarray(info["target_pos"], np.float64)


class RandomGoalWalker(GoalWalker):
    """Walk to free cells drawn uniformly, one after the other: sees the whole maze, in loops.

    The walk of the official offline data set of Memory Maze, as its authors describe it: random points, shortest paths,
    bursts of random actions.
    """

    def reset(self) -> None:
        """Forget goal, burst and tracks of the last episode."""
        super().reset()
        self._current: Point | None = None

    def _goal(self, position: Point, info: Mapping[str, Any]) -> Point:
        if self._current is None or float(np.linalg.norm(self._current - position)) < 0.4:
            free = np.argwhere(np.asarray(info["maze_layout"]) != 0)
            y, x = free[self._rng.integers(len(free))]
            self._current = np.array([x + 0.5, y + 0.5])
        return self._current


def steer(position: Point, direction: Point, waypoint: Point) -> int:
    """Return the action that brings an agent nearer to a point it can see.

    It turns about 18 degrees a step, and while it rolls it describes a circle of 0.75 cells radius: far off
    the line it turns on the spot, else it corrects while rolling.

    Args:
        position: Of the agent, in cells.
        direction: Unit vector the agent looks along.
        waypoint: Where to go, in cells.
    """
    offset = waypoint - position
    ahead = float(direction @ offset)
    aside = float(direction[0] * offset[1] - direction[1] * offset[0])  # positive: to the left
    angle = np.degrees(np.arctan2(aside, ahead))
    if abs(angle) < 10:
        return FORWARD
    if abs(angle) < 40:
        return FORWARD_LEFT if angle > 0 else FORWARD_RIGHT
    return LEFT if angle > 0 else RIGHT


def next_waypoint(layout: NDArray[np.uint8], position: Point, goal: Point) -> Point:
    """Return the farthest point of the shortest path to a goal that can be rolled to in a straight line.

    Args:
        layout: `[y, x]`, 0 where there is wall.
        position: Of the agent, in cells.
        goal: In cells; returned itself when it is in reach, or when no path leads there.
    """
    path = shortest_path(layout, cell_of(layout, position), cell_of(layout, goal))
    points: list[Point] = [np.array([x + 0.5, y + 0.5]) for x, y in path[1:-1]] + [goal]
    for point in reversed(points[:8]):
        if is_clear(layout, position, point):
            return point
    return points[0]


def shortest_path(layout: NDArray[np.uint8], start: Cell, end: Cell) -> list[Cell]:
    """Return the cells (x, y) of a shortest 4-connected path with both ends, or [start, end] without one."""
    height, width = layout.shape
    came_from: dict[Cell, Cell] = {end: end}
    queue = deque([end])
    while queue and start not in came_from:
        x, y = queue.popleft()
        for cell in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)):
            inside = 0 <= cell[0] < width and 0 <= cell[1] < height
            if inside and layout[cell[1], cell[0]] and cell not in came_from:
                came_from[cell] = (x, y)
                queue.append(cell)
    if start not in came_from:
        return [start, end]
    path = [start]
    while path[-1] != end:
        path.append(came_from[path[-1]])
    return path


def is_clear(layout: NDArray[np.uint8], start: Point, end: Point) -> bool:
    """Say whether a ball of 0.1 cells radius rolls from start to end without touching a wall."""
    offset = end - start
    length = float(np.linalg.norm(offset))
    if length < 1e-6:
        return True
    side = 0.15 * np.array([-offset[1], offset[0]]) / length
    centres = start + np.linspace(0, 1, int(length / 0.1) + 2)[:, None] * offset
    x, y = np.floor(np.concatenate([centres + side, centres - side])).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < layout.shape[1]) & (y < layout.shape[0])
    return bool(inside.all() and layout[y, x].all())


def cell_of(layout: NDArray[np.uint8], point: Point) -> Cell:
    """Return the cell (x, y) that holds a point, kept inside the maze."""
    height, width = layout.shape
    return int(np.clip(point[0], 0, width - 1)), int(np.clip(point[1], 0, height - 1))
