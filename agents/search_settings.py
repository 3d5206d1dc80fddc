"""Checks that the settings of searches have in common."""

from typing import Any

import numpy as np


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
    if hasattr(search, "elites"):
        check_least(search, elites=1)
        if search.elites > search.candidates:
            raise ValueError(
                f"elites = {search.elites} of candidates = {search.candidates}; expected at most as many. Fix: a tenth "
                "is a good start."
            )
    if search.keep > max(0, search.candidates - 2):
        raise ValueError(
            f"keep = {search.keep} of candidates = {search.candidates}, expected at most {search.candidates - 2}: one "
            "more is the belief's mode, and something new must be drawn. Fix: keep fewer, or try more candidates."
        )
    for name in ("smoothing", "carry_over", "repeat"):
        share = getattr(search, name, 0.0)
        if not 0 <= share <= 1:
            raise ValueError(f"{name} = {share}, expected a share in [0, 1].")
