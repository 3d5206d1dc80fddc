"""Who repeats its last action now and then: smooth, aimless motion, whatever the actions are and whoever draws them."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

Action = TypeVar("Action")


class Sticky(Generic[Action]):
    """Repeat the last action with a fixed probability, else draw a new one.

    Args:
        draw: Maps (observation, info) to a new action.
        rng: The generator consumed, one draw a step but the first of an episode; `draw` may consume it too.
        repeat: Probability of repeating the last action, in [0, 1].

    Raises:
        ValueError: `repeat` is out of range.
    """

    def __init__(
        self, draw: Callable[[Any, Mapping[str, Any]], Action], rng: np.random.Generator, repeat: float
    ) -> None:
        self._draw, self._rng, self._repeat = draw, rng, check_probability("repeat", repeat)
        self._last: Action | None = None

    def reset(self) -> None:
        """Forget the last action."""
        self._last = None

    def act(self, observation: Any, info: Mapping[str, Any]) -> Action:
        """Return the last action or a new one."""
        if self._last is None or self._rng.random() >= self._repeat:
            self._last = self._draw(observation, info)
        return self._last


def check_probability(name: str, value: float) -> float:
    """Return a probability, or raise ValueError with its name."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} = {value}, expected a number in [0, 1].")
    return value
