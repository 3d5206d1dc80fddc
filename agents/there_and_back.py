"""A walk that goes somewhere and then exactly back, again and again: to record what memory is for."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from agents.walkers import StickyWalker


class ThereAndBack:
    """Walk at random for a while, then undo every step, last one first; then begin anew.

    On the way back every view was seen before, a known number of steps ago.

    Args:
        rng: The generator consumed.
        undone_by: For each action, from 0 up, the one that undoes it.
        longest: Most steps of a way out; its length is drawn uniformly from 1 to this.
        repeat: Probability of repeating the last action on the way out, in [0, 1].

    Raises:
        ValueError: Undoing what undoes an action is not that action, or an argument is out of range.
    """

    def __init__(self, rng: np.random.Generator, undone_by: tuple[int, ...], longest: int, repeat: float = 0.5) -> None:
        if any(not 0 <= b < len(undone_by) or undone_by[b] != a for a, b in enumerate(undone_by)):
            raise ValueError(
                f"undone_by = {undone_by} given, expected actions that undo one another in pairs, or themselves."
            )
        if longest < 1:
            raise ValueError(f"longest = {longest} given, expected at least 1 step.")
        self._rng, self._undone_by, self._longest = rng, undone_by, longest
        self._out = StickyWalker(rng, repeat, len(undone_by))
        self.reset()

    def reset(self) -> None:
        """Forget where it was going."""
        self._to_go, self._to_undo = 0, list[int]()
        self._out.reset()

    def act(self, observation: Any, info: Mapping[str, Any]) -> int:
        """Return the next action of the way out, or the one that undoes the last not yet undone."""
        if self._to_go == 0 and not self._to_undo:
            self._to_go = int(self._rng.integers(1, self._longest + 1))
        if self._to_go > 0:
            self._to_go -= 1
            action = self._out.act(observation, info)
            self._to_undo.append(self._undone_by[action])
            return action
        return self._to_undo.pop()
