"""What users hand to a vector environment, read and checked before anything advances."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.config import LSSVWMConfig
from wmgym.arrays import as_array, as_integer
from wmgym.errors import InvalidActionError
from wmgym.model_actions import read_vectors


def read_actions(actions: Any, num_dreams: int, config: LSSVWMConfig) -> NDArray[np.int64] | NDArray[np.float32]:
    """Return one action a dream, `[n]`, or `[n a]` float32 if they are continuous.

    Args:
        actions: Anything numpy can turn into integers, or into floats if they are continuous.
        num_dreams: How many dreams there are.
        config: Of the model, which says what actions there are.

    Raises:
        InvalidActionError: They are no such numbers, not one a dream, or out of range.
    """
    given = as_array(actions, "actions", InvalidActionError)
    num_actions = config.num_actions
    if config.action_size:
        hint = "Most likely the policy was made for another action space or another number of environments."
        return read_vectors(given, (num_dreams, config.action_size), config, "actions", InvalidActionError, hint)
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


def read_action(action: Any, num_actions: int) -> int:
    """Return the action of one environment.

    Args:
        action: A whole number, or an array or tensor of integers with no axes.
        num_actions: How many actions there are.

    Raises:
        InvalidActionError: It is no whole number, or out of range.
    """
    number = as_integer(action)
    if number is None or not 0 <= number < num_actions:
        raise InvalidActionError(
            f"Action {action!r} given, expected a whole number from 0 to {num_actions - 1}, an element of "
            f"Discrete({num_actions}). Most likely the policy was made for another action space."
        )
    return number


def read_seed(seed: Any) -> int | None:
    """Return one seed, or None.

    Args:
        seed: As passed to `reset` of a single dream.

    Raises:
        ValueError: It is neither None nor a whole number of at least 0.
    """
    if seed is None:
        return None
    number = as_integer(seed)
    if number is None or number < 0:
        raise ValueError(
            f"seed = {seed!r} given, expected a whole number of at least 0, or None to go on with the generator there "
            "is (for many dreams also a list of these, one a dream). Fix: pass an int."
        )
    return number


def read_seeds(seed: Any, num_dreams: int) -> list[int | None]:
    """Return one seed a dream, by Gymnasium's rule: dream i gets `seed + i`.

    Args:
        seed: One for all, or a sequence or array with one a dream; None where a dream goes on with the generator it
            has.
        num_dreams: How many dreams there are.

    Raises:
        ValueError: There are more or fewer seeds than dreams, or one is no seed.
    """
    one_each = isinstance(seed, Sequence) and not isinstance(seed, str)
    if not one_each and not (isinstance(seed, np.ndarray) and seed.ndim == 1):
        first = read_seed(seed)
        return [None if first is None else first + i for i in range(num_dreams)]
    if len(seed) != num_dreams:
        raise ValueError(f"{len(seed)} seeds given for {num_dreams} dreams; pass one a dream, or one integer for all.")
    return [read_seed(one) for one in seed]


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
