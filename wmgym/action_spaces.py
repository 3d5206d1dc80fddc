"""Action spaces as recordings and checkpoints keep them, and as models see them: whole numbers, or vectors of floats.

A model sees `Discrete` and `MultiDiscrete` actions as whole numbers from 0 on, those of a `MultiDiscrete` counted with
its last number running fastest, as numpy counts the cells of an array. A `Box` it sees as it is, flattened.
"""

import json
import math
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space
from numpy.typing import NDArray

MOST_ACTIONS = 4096
"""A `MultiDiscrete` of more combinations is refused: each has an embedding of its own, to be learned."""


def refuse_other_spaces(space: Space[Any]) -> None:
    """Refuse an action space that cannot be recorded.

    Raises:
        ValueError: It is none of the three, or has too many combinations, or a `Box` that is not finite floats.
    """
    if isinstance(space, Discrete):
        return
    if isinstance(space, MultiDiscrete):
        if math.prod(space.nvec.ravel().tolist()) > MOST_ACTIONS:
            raise ValueError(
                f"{space} given, which has more than {MOST_ACTIONS:,} combinations; expected fewer, since each is "
                "learned on its own. Fix: wrap the environment so that it takes the combinations that matter "
                "(gymnasium.wrappers.TransformAction)."
            )
        return
    if not isinstance(space, Box):
        raise ValueError(
            f"{space} given, expected Discrete, MultiDiscrete or Box actions. Fix: wrap the environment so that it "
            "takes one of them (gymnasium.wrappers.TransformAction; wmgym.minerl for MineRL's dictionaries)."
        )
    if space.dtype.kind != "f" or not space.is_bounded():
        raise ValueError(
            f"{space} given, expected a Box of floats that is bounded on both sides, by which actions are scaled. Fix: "
            "gymnasium.wrappers.RescaleAction, or ClipAction with a space of your own."
        )


def action_count(space: Space[Any]) -> int:
    """Return how many actions there are, 0 for a `Box`."""
    refuse_other_spaces(space)
    if isinstance(space, Discrete):
        return int(space.n)
    return math.prod(space.nvec.ravel().tolist()) if isinstance(space, MultiDiscrete) else 0


def action_size(space: Space[Any]) -> int:
    """Return how many numbers an action of a `Box` has, 0 for the others."""
    refuse_other_spaces(space)
    return math.prod(space.shape) if isinstance(space, Box) else 0


def to_model(space: Space[Any], actions: Any) -> NDArray[Any]:
    """Return actions `[... *shape]` of a space as a model sees them: int64 `[...]`, or float32 `[... n]` of a `Box`.

    Actions that the space does not contain are refused if it is `MultiDiscrete`. Of the others nothing is checked: they
    come out as numbers that mean nothing.

    Raises:
        ValueError: A number of a `MultiDiscrete` action is out of range.
    """
    given = np.asarray(actions)
    if isinstance(space, Discrete):
        return np.asarray(given.astype(np.int64) - int(space.start))
    if isinstance(space, MultiDiscrete):
        parts = np.moveaxis(flattened(space, given - space.start), -1, 0)
        return np.asarray(np.ravel_multi_index(tuple(parts), tuple(space.nvec.ravel())), np.int64)
    return flattened(space, given).astype(np.float32)


def from_model(space: Space[Any], actions: NDArray[Any]) -> NDArray[Any]:
    """Return what `to_model` was given, in the type of the space.

    Bounds that float32 rounded, perhaps to beyond them, come back as the bounds themselves.
    """
    if isinstance(space, Discrete):
        return np.asarray(actions + int(space.start), space.dtype)
    if isinstance(space, MultiDiscrete):
        parts = np.stack(np.unravel_index(actions, tuple(space.nvec.ravel())), -1)
        return (parts.reshape(*actions.shape, *space.shape) + space.start).astype(space.dtype)
    assert isinstance(space, Box)
    shaped = actions.reshape(*actions.shape[:-1], *space.shape)
    taken = shaped.astype(space.dtype)
    for bound in (space.low, space.high):
        taken = np.where(shaped == bound.astype(np.float32), bound, taken)
    return taken


def flattened(space: Space[Any], actions: NDArray[Any]) -> NDArray[Any]:
    """Return actions `[... *shape]` with the axes of the space made one."""
    assert space.shape is not None
    leading = actions.shape[: actions.ndim - len(space.shape)]
    return actions.reshape(*leading, math.prod(space.shape))


def to_text(space: Space[Any]) -> str:
    """Return a space as JSON, which `from_text` reads."""
    refuse_other_spaces(space)
    if isinstance(space, Discrete):
        told: dict[str, Any] = {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    elif isinstance(space, MultiDiscrete):
        told = {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    else:
        assert isinstance(space, Box)
        told = {"type": "Box", "low": space.low.tolist(), "high": space.high.tolist()}
    if space.dtype != np.int64:
        told["dtype"] = space.dtype.name
    return json.dumps(told)


def same_actions(space: Space[Any], other: Space[Any]) -> bool:
    """Say whether two spaces have the same actions; whole numbers may differ in type, which older files do not tell."""
    if isinstance(space, Discrete) and isinstance(other, Discrete):
        return bool(space.n == other.n and space.start == other.start)
    if isinstance(space, MultiDiscrete) and isinstance(other, MultiDiscrete):
        return np.array_equal(space.nvec, other.nvec) and np.array_equal(space.start, other.start)
    return bool(space == other)


def from_text(text: str) -> Space[Any]:
    """Return the space that `to_text` wrote; whole numbers of which it tells no type are int64.

    Raises:
        ValueError: It did not.
    """
    try:
        told = json.loads(text)
        kind = told.pop("type")
        if kind == "Discrete":
            space: Space[Any] = Discrete(**told)
        elif kind == "MultiDiscrete":
            whole = np.dtype(told.get("dtype", "int64")).type
            space = MultiDiscrete(np.array(told["nvec"]), whole, start=np.array(told["start"]))
        elif kind == "Box":
            dtype = np.dtype(told["dtype"])
            space = Box(np.array(told["low"], dtype), np.array(told["high"], dtype), dtype=dtype.type)
        else:
            raise ValueError(f"its type is {kind!r}")
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{text[:200]!r} is no action space ({type(error).__name__}: {error}), expected what "
            "wmgym.action_spaces.to_text writes. Likely cause: a damaged or newer file."
        ) from error
    refuse_other_spaces(space)
    return space
