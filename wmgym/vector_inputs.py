"""What users hand to a vector environment, read and checked before anything advances."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import InvalidActionError


def read_actions(actions: Any, num_dreams: int, num_actions: int) -> NDArray[np.int64]:
    """Return one action a dream.

    Args:
        actions: Anything numpy can turn into integers.
        num_dreams: How many dreams there are.
        num_actions: How many actions there are.

    Raises:
        InvalidActionError: They are no integers, not one a dream, or out of range.
    """
    given = np.asarray(actions)
    if given.dtype.kind not in "iu" or given.shape != (num_dreams,):
        raise InvalidActionError(
            f"Actions {actions!r} are {given.dtype} of shape {given.shape}, expected integers of shape "
            f"({num_dreams},), one a dream. Most likely the policy was made for another action space or "
            "another number of environments."
        )
    if given.min() < 0 or given.max() >= num_actions:
        raise InvalidActionError(
            f"Actions between {given.min()} and {given.max()} given, expected 0 to {num_actions - 1}. "
            "Most likely the policy was made for another action space."
        )
    return given.astype(np.int64)


def read_seeds(seed: int | Sequence[int | None] | None, num_dreams: int) -> list[int | None]:
    """Return one seed a dream, by Gymnasium's rule: dream i gets `seed + i`.

    Args:
        seed: One for all, or one a dream; None where a dream goes on with the generator it has.
        num_dreams: How many dreams there are.

    Raises:
        ValueError: There are more or fewer seeds than dreams.
    """
    if seed is None:
        return [None] * num_dreams
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(num_dreams)]
    if len(seed) != num_dreams:
        raise ValueError(f"{len(seed)} seeds given for {num_dreams} dreams; pass one a dream, or one integer for all.")
    return list(seed)


def read_reset_mask(options: Mapping[str, Any] | None, num_dreams: int) -> list[int]:
    """Return which dreams to start: all, unless `options["reset_mask"]` says otherwise.

    Args:
        options: As passed to `reset`.
        num_dreams: How many dreams there are.

    Raises:
        ValueError: The mask is no array of booleans with one entry a dream and at least one True.
    """
    if options is None or options.get("reset_mask") is None:
        return list(range(num_dreams))
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_dreams,):
        raise ValueError(
            f"options['reset_mask'] = {mask!r}, expected a numpy array of {num_dreams} booleans: True for "
            "each dream to start."
        )
    if not mask.any():
        raise ValueError("options['reset_mask'] is False everywhere, expected at least one dream to start.")
    return [int(row) for row in np.flatnonzero(mask)]
