"""What space the actions of a LeRobot data set have; it tells their type and shape, but no space.

Floats become a `Box` from the smallest to the largest value that occurs, as meta/stats.json has them; a number that
never changes gets one more on either side, since a model scales actions by the range. Whole numbers become `Discrete`,
or `MultiDiscrete` if there are several, from 0 (or the smallest, if that is negative) to the largest that occurs; truth
values have two. Without stats.json the values themselves are looked through.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space
from numpy.typing import NDArray

from wmgym.action_spaces import refuse_other_spaces

Extent = tuple[NDArray[Any], NDArray[Any]]
"""The smallest and the largest value of each number of an action."""


def space_of_actions(
    features: Mapping[str, Any], stats: Mapping[str, Any], key: str, look_through: Callable[[], Extent]
) -> Space[Any]:
    """Return the space of the actions of a data set.

    Args:
        features: As meta/info.json has them.
        stats: As meta/stats.json has them; empty if there is none.
        key: Of the actions.
        look_through: Returns the extent of the values themselves; called if `stats` does not tell it.

    Raises:
        ValueError: There is no such feature, or its actions are of a kind that cannot be recorded.
    """
    if key not in features:
        raise ValueError(
            f"no feature {key!r}; found {', '.join(features)}. Fix: name that of the actions: --action-key."
        )
    shape = tuple(features[key].get("shape") or ())
    try:
        kind = np.dtype(features[key]["dtype"]).kind
    except (KeyError, TypeError):  # "string", say
        kind = "O"
    if kind not in "fiub" or not shape:
        raise ValueError(
            f"{key!r} has dtype {features[key].get('dtype')!r} and shape {list(shape)}, expected numbers: floats (a "
            "Box), integers or bools (Discrete). Fix: name another feature: --action-key."
        )
    if kind == "b":
        return _whole(np.zeros(shape), np.ones(shape))
    told = stats.get(key)
    known = isinstance(told, Mapping) and {"min", "max"} <= told.keys()
    ends = (told["min"], told["max"]) if known and told else look_through()
    low, high = (np.asarray(end, np.float64) for end in ends)
    if low.size != np.prod(shape) or high.size != low.size or not np.isfinite([low, high]).all() or (low > high).any():
        raise ValueError(
            f"meta/stats.json has min {low.tolist()} and max {high.tolist()} of {key!r}, expected {list(shape)} finite "
            "numbers each. Fix: delete stats.json, then the values themselves are looked through."
        )
    low, high = low.reshape(shape), high.reshape(shape)
    if kind in "iu":
        return _whole(low, high)
    unchanging = low == high
    space = Box((low - unchanging).astype(np.float32), (high + unchanging).astype(np.float32), dtype=np.float32)
    refuse_other_spaces(space)
    return space


def _whole(low: NDArray[Any], high: NDArray[Any]) -> Space[Any]:
    start = np.minimum(low, 0).astype(np.int64)
    sizes = high.astype(np.int64) - start + 1
    if sizes.shape == (1,):
        return Discrete(int(sizes[0]), start=int(start[0]))
    space = MultiDiscrete(sizes, start=start)
    refuse_other_spaces(space)
    return space
