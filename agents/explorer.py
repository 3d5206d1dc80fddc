"""A walker that uses only what it has seen: a teacher whose knowledge its pupil could have.

`agents.walkers.TargetSeeker` knows where the target is before it was ever in sight. Who imitates it learns to turn at
corners for reasons it cannot see.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.walkers import Cell, GoalWalker, Point, cell_of, is_clear

HALF_VIEW_DEGREES = 40.0
"""The camera of Memory Maze sees 80 degrees (`memory_maze` 1.0.3)."""
FARTHEST_CELLS = 6.0
"""What is farther is a few pixels wide, and does not count as seen."""
ALIKE_DEGREES = 30.0
"""Unseen cells about as near as each other are told apart by how far one has to turn; this costs as much as a cell."""


class Explorer(GoalWalker):
    """Walk to the current target if it was seen in this episode, else to the nearest cell that was not.

    A cell counts as seen once a straight line leads there within the camera's view. Which unseen cells are free, and
    the way there, is read from the map: so much it knows more than it saw.

    Args:
        rng: The generator consumed.
        noise: Share of the steps spent in bursts of five random actions, in [0, 1].
        held: A burst repeats one action.
        forget_every: Steps after which all that was seen is forgotten, to measure what it is worth; None for never.

    Raises:
        ValueError: `noise` is no share, or `forget_every` less than 1.
    """

    def __init__(
        self, rng: np.random.Generator, noise: float = 0.1, *, held: bool = False, forget_every: int | None = None
    ) -> None:
        if forget_every is not None and forget_every < 1:
            raise ValueError(f"forget_every = {forget_every}, expected 1 step or more, or None for never.")
        self._forget_every = forget_every
        super().__init__(rng, noise, held=held)

    def reset(self) -> None:
        """Forget goal, burst, tracks and what was seen of the last episode."""
        super().reset()
        self._steps = 0
        self._forget()

    def _forget(self) -> None:
        self._unseen: set[Cell] | None = None
        self._current: Cell | None = None

    @property
    def knows_target(self) -> bool:
        """Whether the current target was seen in this episode, as of the last time it was asked what to do."""
        return self._current is None

    def _goal(self, position: Point, info: Mapping[str, Any]) -> Point:
        layout, direction = np.asarray(info["maze_layout"]), np.asarray(info["agent_dir"], np.float64)
        if self._forget_every is not None and self._steps % self._forget_every == 0:
            self._forget()
        self._steps += 1
        if self._unseen is None:
            self._unseen = {(int(x), int(y)) for y, x in np.argwhere(layout != 0)}
        here, target = cell_of(layout, position), cell_of(layout, np.asarray(info["target_pos"], np.float64))
        self._unseen -= {
            cell for cell in self._unseen if cell == here or is_in_view(layout, position, direction, np.add(cell, 0.5))
        }
        if target not in self._unseen or not self._unseen:
            self._current = None
            return np.asarray(info["target_pos"], np.float64)
        if self._current not in self._unseen:
            self._current = _nearest(layout, here, position, direction, self._unseen)
        return np.add(self._current, 0.5)


def is_in_view(layout: NDArray[np.uint8], position: Point, direction: Point, point: Point) -> bool:
    """Say whether a point is in view, as far as the camera sees and walls let it.

    Args:
        layout: `[y, x]`, 0 where there is wall.
        position: Of the camera, in cells.
        direction: Unit vector that it looks along.
        point: In cells.
    """
    offset = point - position
    distance = float(np.linalg.norm(offset))
    if distance > FARTHEST_CELLS or direction @ offset < distance * np.cos(np.radians(HALF_VIEW_DEGREES)):
        return False
    return is_clear(layout, position, position + offset)


def _nearest(layout: NDArray[np.uint8], start: Cell, position: Point, direction: Point, cells: set[Cell]) -> Cell:
    """Return the cell of a set that is the shortest way off, turns included; the first of equals in reading order."""
    steps, queue = {start: 0}, deque([start])
    while queue:
        x, y = queue.popleft()
        for cell in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)):
            inside = 0 <= cell[0] < layout.shape[1] and 0 <= cell[1] < layout.shape[0]
            if inside and layout[cell[1], cell[0]] and cell not in steps:
                steps[cell] = steps[x, y] + 1
                queue.append(cell)

    def cost(cell: Cell) -> float:
        offset = np.add(cell, 0.5) - position
        cosine = direction @ offset / max(1e-6, float(np.linalg.norm(offset)))
        turn = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        return steps.get(cell, float(layout.size)) + turn / ALIKE_DEGREES

    return min(sorted(cells), key=cost)
