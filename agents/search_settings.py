"""What the settings of searches have in common: how often they try, what they learn from, and checks.

A search of several iterations is put together of two parts: how it learns from scored candidates (`CrossEntropy` or
`PathIntegral`, here) and what it draws them from (`CategoricalSettings` in `discrete_plans`, `GaussianSettings` in
`box_plans`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.trajectory_optimizers import Floats, elite_weights, exponential_weights


@dataclass(frozen=True)
class IteratedSearch:
    """Draw candidates, score them and learn from them, several times over: half of a search, no search by itself.

    Attributes:
        candidates: How many sequences each iteration tries.
        iterations: How often.
    """

    candidates: int = 64
    iterations: int = 4

    def __post_init__(self) -> None:
        """Refuses numbers that do not fit together."""
        check_search(self)


@dataclass(frozen=True)
class CrossEntropy(IteratedSearch):
    """Learn from the best candidates alone, alike from each.

    Attributes:
        elites: How many of the best are learned from.
    """

    elites: int = 8

    def __post_init__(self) -> None:
        """Refuses numbers that do not fit together."""
        super().__post_init__()
        check_least(self, elites=1)
        if self.elites > self.candidates:
            raise ValueError(
                f"elites = {self.elites} of candidates = {self.candidates}; expected at most as many. Fix: a tenth is "
                "a good start."
            )

    def weights(self, returns: Floats) -> Floats:
        """Return equal weights of the elites."""
        return elite_weights(returns, self.elites)


@dataclass(frozen=True)
class PathIntegral(IteratedSearch):
    """Learn from every candidate, by `exp` of its return.

    Attributes:
        temperature: The median candidate counts `exp(-1 / temperature)` of what the best does.
    """

    temperature: float = 0.2

    def __post_init__(self) -> None:
        """Refuses numbers that do not fit together."""
        super().__post_init__()
        check_least(self, temperature=1e-12)

    def weights(self, returns: Floats) -> Floats:
        """Return exponential weights."""
        return exponential_weights(returns, self.temperature)


def check_least(settings: Any, **least: int | float) -> None:
    """Refuse settings below what they must at least be, and whole numbers that are none.

    Args:
        settings: A dataclass.
        **least: By name of the field; where it is an int, so must the field be.

    Raises:
        ValueError: A field is too small, not finite, or no whole number.
    """
    for name, lowest in least.items():
        value = getattr(settings, name)
        whole = isinstance(lowest, int)
        right_kind = isinstance(value, (int, np.integer) if whole else (int, float, np.number))
        if isinstance(value, bool) or not right_kind or not lowest <= value < np.inf:
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{name} = {value!r}, expected {kind}, at least {lowest}.")


def check_search(search: Any) -> None:
    """Refuse numbers of candidates that do not fit together, and shares outside of [0, 1].

    Raises:
        ValueError: As `check_least`; or nothing would be left to draw; or a share is none.
    """
    check_least(search, candidates=1, iterations=1, keep=0)
    if search.keep > max(0, search.candidates - 2):
        raise ValueError(
            f"keep = {search.keep} of candidates = {search.candidates}, expected at most {search.candidates - 2}: one "
            "more is the belief's mode, and something new must be drawn. Fix: keep fewer, or try more candidates."
        )
    for name in ("smoothing", "carry_over", "repeat"):
        share = getattr(search, name, 0.0)
        if not 0 <= share <= 1:
            raise ValueError(f"{name} = {share}, expected a share in [0, 1].")
