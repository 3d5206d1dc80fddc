"""MineRL's keys and a binned camera, each chosen for itself: a `MultiDiscrete` action."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from numpy.typing import NDArray

from wmgym.action_spaces import refuse_other_spaces, to_model
from wmgym.arrays import as_array, read_integer
from wmgym.errors import InvalidActionError
from wmgym.minerl_actions import OVERLOOKED, ActionMapping, refuse_action
from wmgym.minerl_keys import CAMERA, LARGEST_MOVE_DEGREES, KeyRows

STANDARD_GROUPS: tuple[tuple[str, ...], ...] = (("forward", "back"), ("left", "right"), ("jump",), ("attack",))
"""Keys of which one at most is pressed: each group is one number, 0 for none."""


@dataclass(frozen=True)
class CameraBins:
    """Moves of the camera along one axis, cut into bins that are finer around zero, as VPT has it (arXiv:2206.11795).

    With n bins and u evenly spaced from -1 to 1, bin by bin, the move is mu-law expanded:

        move = largest * sign(u) * ((1 + mu) ** |u| - 1) / mu

    with `mu` > 0 and linear, `largest * u`, with `mu` = 0. Back, a move is cut at `largest`, compressed by the inverse
    and rounded to the nearest u (ties to the even bin, counted from the middle).
    """

    count: int = 11
    """Bins, an odd number of at least 3, so that the middle one keeps the camera still."""

    largest: float = 10.0
    """The move of the outermost bins, degrees."""

    mu: float = 10.0
    """How much finer they are around zero."""

    def __post_init__(self) -> None:
        """Refuse bins that are none.

        Raises:
            ValueError: A number is out of range.
        """
        if read_integer(self.count, "count", 3) % 2 == 0:
            raise ValueError(f"count = {self.count} given, expected an odd number: the middle bin is no move.")
        if not 0 < self.largest <= LARGEST_MOVE_DEGREES:
            raise ValueError(f"largest = {self.largest} given, expected degrees up to {LARGEST_MOVE_DEGREES:g}.")
        if not 0 <= self.mu < math.inf:
            raise ValueError(f"mu = {self.mu} given, expected 0 for linear bins, or more, such as 10.")

    def moves(self) -> NDArray[np.float64]:
        """Return `[count]` degrees, in rising order."""
        u = np.linspace(-1.0, 1.0, self.count)
        return self.largest * (u if self.mu == 0 else np.sign(u) * np.expm1(np.abs(u) * np.log1p(self.mu)) / self.mu)

    def find(self, moves: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the bins of moves `[...]` in degrees."""
        x = np.clip(moves / self.largest, -1.0, 1.0)
        u = x if self.mu == 0 else np.sign(x) * np.log1p(self.mu * np.abs(x)) / np.log1p(self.mu)
        middle = (self.count - 1) // 2
        return np.asarray(np.rint(u * middle), np.int64) + middle


class KeysAndCamera(ActionMapping):
    """Groups of keys and two axes of the camera as one `MultiDiscrete`: a number a group, then pitch, then yaw.

    The nearest to a dictionary: in each group the key that is held; none if several are, as opposite ones cancel out in
    the game; and the bins of the camera.

    Args:
        groups: In each, keys of which one at most is pressed.
        pitch: Bins up and down.
        yaw: Bins left and right.
        overlooked: Keys that are neither pressed nor missed.

    Raises:
        ValueError: A key occurs twice, or there are more combinations than models learn
            (`wmgym.action_spaces.MOST_ACTIONS`).
    """

    def __init__(
        self,
        groups: Sequence[Sequence[str]] = STANDARD_GROUPS,
        pitch: CameraBins | None = None,
        yaw: CameraBins | None = None,
        overlooked: Sequence[str] = OVERLOOKED,
    ) -> None:
        self.groups = tuple(tuple(group) for group in groups)
        self.pitch = CameraBins(count=7) if pitch is None else pitch
        self.yaw = CameraBins() if yaw is None else yaw
        self.keys = tuple(key for group in self.groups for key in group)
        if len(set(self.keys)) != len(self.keys) or CAMERA in self.keys:
            raise ValueError(f"groups = {self.groups}, expected each key once, and '{CAMERA}' not among them.")
        self.overlooked = tuple(key for key in overlooked if key not in self.keys)
        choices = [len(group) + 1 for group in self.groups]
        self.space = MultiDiscrete([*choices, self.pitch.count, self.yaw.count])
        refuse_other_spaces(self.space)

    def to_minerl(self, action: Any) -> dict[str, Any]:
        """Return what is pressed, see `ActionMapping.to_minerl`."""
        given = as_array(action, "action", InvalidActionError)
        refuse_action(given.astype(np.int64) if given.dtype.kind in "iu" else given, self.space)
        *choices, pitch, yaw = given.tolist()
        pressed = [group[choice - 1] for group, choice in zip(self.groups, choices, strict=True) if choice]
        camera = np.array([self.pitch.moves()[pitch], self.yaw.moves()[yaw]], np.float32)
        return {**{key: int(key in pressed) for key in self.keys}, CAMERA: camera}

    def find(self, rows: KeyRows) -> NDArray[np.int64]:
        """Return the nearest actions, see the class."""
        choices = []
        for group in self.groups:
            held = rows.holding(group)
            choices.append(np.where(held.sum(axis=1) == 1, held.argmax(axis=1) + 1, 0))
        bins = [self.pitch.find(rows.camera[:, 0]), self.yaw.find(rows.camera[:, 1])]
        return np.asarray(to_model(self.space, np.stack([*choices, *bins], axis=1)), np.int64)
