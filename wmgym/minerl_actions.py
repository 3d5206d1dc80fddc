"""MineRL's action dictionaries as actions that models and agents know: a table of combinations, or keys and camera.

Both go in both directions: `to_minerl` says what is pressed, `from_minerl` and `nearest` which action comes nearest to
what a player pressed. Nothing here needs MineRL.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, Space
from numpy.typing import NDArray

from wmgym.action_spaces import from_model
from wmgym.errors import InvalidActionError
from wmgym.minerl_keys import CAMERA, LARGEST_MOVE_DEGREES, KeyRows, read_one
from wmgym.vector_inputs import read_action

TURN_DEGREES = 10.0
"""How far the actions of the standard table move the camera in a step: at 20 steps a second, a full turn in 1.8 s."""
OVERLOOKED = ("sneak", "sprint")
"""Keys that change how fast one walks, and not what one does: held or not, an action counts as the same."""
_MISMATCH = 1e4  # weighs one key more than any move of the camera


class ActionMapping(ABC):
    """Translates between MineRL's dictionaries and the actions of a space.

    What it cannot say: a key that is held, or a text other than "none", which none of its actions has, unless it is
    among those to overlook. Then `from_minerl` returns None, and `nearest` leaves the key away and tells.
    """

    space: Space[Any]
    """`Discrete` or `MultiDiscrete`."""

    keys: tuple[str, ...]
    """Which of MineRL's keys it presses."""

    overlooked: tuple[str, ...]
    """Which are neither pressed nor missed."""

    @abstractmethod
    def to_minerl(self, action: Any) -> dict[str, Any]:
        """Return what an action presses: each of `keys`, 0 or 1, and `camera`, float32 `(2,)`, degrees.

        Args:
            action: An element of `space`.

        Raises:
            InvalidActionError: It is none.
        """

    @abstractmethod
    def find(self, rows: KeyRows) -> NDArray[np.int64]:
        """Return `[n]` actions nearest to what was pressed, as models see them (`wmgym.action_spaces.to_model`)."""

    def nearest(self, rows: KeyRows) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return `[n]` nearest actions as models see them, and whether they say all that was pressed.

        Args:
            rows: What a player did in n steps.
        """
        beyond = tuple(key for key in rows.held if key not in self.keys and key not in self.overlooked)
        return self.find(rows), np.logical_not(rows.holding(beyond).any(axis=1))

    def from_minerl(self, action: Mapping[str, Any]) -> Any:
        """Return the element of `space` nearest to one of MineRL's dictionaries, None if it presses anything beyond.

        Args:
            action: The dictionary; keys may be left out.

        Raises:
            InvalidActionError: It is none of MineRL's.
        """
        numbers, said = self.nearest(read_one(action))
        if not said[0]:
            return None
        chosen = from_model(self.space, numbers)[0]
        return int(chosen) if isinstance(self.space, Discrete) else chosen


@dataclass(frozen=True)
class TableAction:
    """One row of a table: keys that are held together for a step, and how the camera moves."""

    keys: tuple[str, ...] = ()
    """MineRL's names, such as "forward"."""

    pitch: float = 0.0
    """Degrees by which the view moves down, up if negative."""

    yaw: float = 0.0
    """Degrees by which it turns right, left if negative."""


STANDARD_TABLE: tuple[TableAction, ...] = (
    TableAction(),
    TableAction(("forward",)),
    TableAction(("forward", "jump")),
    TableAction(("forward", "attack")),
    TableAction(("attack",)),
    TableAction(("back",)),
    TableAction(("left",)),
    TableAction(("right",)),
    TableAction((), yaw=-TURN_DEGREES),
    TableAction((), yaw=TURN_DEGREES),
    TableAction((), pitch=-TURN_DEGREES),
    TableAction((), pitch=TURN_DEGREES),
    TableAction(("forward",), yaw=-TURN_DEGREES),
    TableAction(("forward",), yaw=TURN_DEGREES),
    TableAction(("forward", "jump"), yaw=-TURN_DEGREES),
    TableAction(("forward", "jump"), yaw=TURN_DEGREES),
    TableAction(("attack",), pitch=-TURN_DEGREES),
    TableAction(("attack",), pitch=TURN_DEGREES),
)
"""To walk about and to chop trees: 0 nothing, 1 forward, 2 forward and jump, 3 forward and attack, 4 attack, 5 back,
6 and 7 step left and right, 8 and 9 turn left and right, 10 and 11 look up and down, 12 and 13 forward in a turn left
and right, 14 and 15 the same with jumps, 16 and 17 attack and look up and down."""


class ActionTable(ActionMapping):
    """A table of combinations as `Discrete` actions, numbered as they stand there.

    The nearest to a dictionary: of the rows with the fewest keys held or not held other than there, that whose camera
    moves most alike, by Euclidean distance in degrees, however far; the first of equals.

    Args:
        actions: The table.
        overlooked: Keys that are neither pressed nor missed.

    Raises:
        ValueError: There is no row, two are the same, a camera moves by more than 180 degrees, or `camera` is
            among the keys.
    """

    def __init__(self, actions: Sequence[TableAction] = STANDARD_TABLE, overlooked: Sequence[str] = OVERLOOKED) -> None:
        self.actions = tuple(actions)
        if not self.actions:
            raise ValueError("a table without rows given, expected one or more. Fix: pass STANDARD_TABLE or your own.")
        seen: dict[Any, int] = {}
        for number, row in enumerate(self.actions):
            _check_row(number, row)
            first = seen.setdefault((frozenset(row.keys), row.pitch, row.yaw), number)
            if first != number:
                raise ValueError(f"rows {first} and {number} of the table are the same: {row}. Fix: leave one out.")
        self.keys = tuple(sorted({key for row in self.actions for key in row.keys}))
        self.overlooked = tuple(key for key in overlooked if key not in self.keys)
        self.space = Discrete(len(self.actions))
        self._held = np.array([[key in row.keys for key in self.keys] for row in self.actions], np.bool_)
        self._camera = np.array([(row.pitch, row.yaw) for row in self.actions])

    def to_minerl(self, action: Any) -> dict[str, Any]:
        """Return what a row presses, see `ActionMapping.to_minerl`."""
        row = self.actions[read_action(action, len(self.actions))]
        return {
            **{key: int(key in row.keys) for key in self.keys},
            CAMERA: np.array([row.pitch, row.yaw], np.float32),
        }

    def find(self, rows: KeyRows) -> NDArray[np.int64]:
        """Return the nearest rows, see the class."""
        mismatches = (rows.holding(self.keys)[:, None] != self._held).sum(axis=2)
        distance = np.linalg.norm(rows.camera[:, None] - self._camera, axis=2)
        return np.asarray((_MISMATCH * mismatches + distance).argmin(axis=1), np.int64)


def refuse_action(action: Any, space: Space[Any]) -> None:
    """Refuse what is no element of a space.

    Raises:
        InvalidActionError: It is none.
    """
    if not space.contains(action):
        raise InvalidActionError(
            f"Action {action!r} given, expected an element of {space}. Most likely the policy was made for another "
            "action space."
        )


def _check_row(number: int, row: TableAction) -> None:
    """Refuse a row that MineRL could not take."""
    moves = (row.pitch, row.yaw)
    if not all(math.isfinite(move) and abs(move) <= LARGEST_MOVE_DEGREES for move in moves):
        raise ValueError(
            f"row {number} of the table moves the camera by {moves} degrees, expected {-LARGEST_MOVE_DEGREES:g} to "
            f"{LARGEST_MOVE_DEGREES:g} in a step."
        )
    keys: Any = row.keys
    if isinstance(keys, str) or CAMERA in keys:
        raise ValueError(
            f"row {number} of the table has the keys {row.keys!r}, expected a tuple of MineRL's keys such as "
            "('forward', 'jump'); what the camera does stands in pitch and yaw."
        )
