"""Which actions a model takes: what its config says of them, as fields of a recording and as a Gymnasium space."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray

from model.axes import START_ACTION
from model.config import LSSVWMConfig
from wmgym.recording import Episode

CLIP = "Fix: clip them, as gymnasium.wrappers.ClipAction does."


def action_space_of(config: LSSVWMConfig) -> Box | Discrete:
    """Return the space of what the model takes: `Discrete`, or a flat float32 `Box`."""
    if config.action_size:
        return Box(*bounds_of(config), dtype=np.float32)
    return Discrete(config.num_actions)


def bounds_of(config: LSSVWMConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return least and greatest values of continuous actions, `[n]` each."""
    return np.array(config.action_low, np.float32), np.array(config.action_high, np.float32)


def no_action(config: LSSVWMConfig) -> NDArray[Any]:
    """Return what stands where no action led to a frame: an array without axes, or `[n]`."""
    size = config.action_size
    return np.full(size, np.nan, np.float32) if size else np.array(START_ACTION)


def with_actions_of(config: LSSVWMConfig, episode: Episode) -> LSSVWMConfig:
    """Return the config with the actions of a recording; a model with poses does not look at those of a `Box`."""
    space = episode.action_space
    if not isinstance(space, Box):
        return replace(config, num_actions=episode.action_count, action_size=0, action_low=(), action_high=())
    if config.pose_size:
        return replace(config, num_actions=1, action_size=0, action_low=(), action_high=())
    low, high = (tuple(v.astype(np.float32).ravel().tolist()) for v in (space.low, space.high))
    return replace(config, num_actions=1, action_size=len(low), action_low=low, action_high=high)


def described(config: LSSVWMConfig) -> str:
    """Return what messages call the model's actions."""
    if not config.action_size:
        return f"{config.num_actions} actions"
    return f"actions from {list(config.action_low)} to {list(config.action_high)}"


def outside(actions: NDArray[Any], low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which continuous actions `[... n]` are not finite or beyond the bounds, `[...]`."""
    return np.asarray(~((actions >= low) & (actions <= high)).all(-1))


def refuse_outside(episode: Episode, config: LSSVWMConfig, name: str, error: type[Exception]) -> None:
    """Refuse a recording whose continuous actions are not finite or beyond the bounds.

    Args:
        episode: The recording, of the model's actions.
        config: Of the model.
        name: What the message calls the recording.
        error: What to raise.

    Raises:
        error: There is such an action.
    """
    if not config.action_size:
        return
    low, high = bounds_of(config)
    wrong = np.flatnonzero(outside(episode.action[1:], low, high)) + 1
    if wrong.size:
        raise error(
            f"{name} has the action {episode.action[wrong[0]].tolist()} in row {wrong[0]}, expected finite numbers "
            f"from {low.tolist()} to {high.tolist()}, as its action space has them. Fix: record actions within them "
            "(gymnasium.wrappers.ClipAction)."
        )


def takes(config: LSSVWMConfig, space: Space[Any]) -> bool:
    """Say whether the actions of an environment are the model's."""
    if not isinstance(space, Box):
        return bool(space == action_space_of(config))
    low, high = bounds_of(config)
    return bool(
        space.dtype.kind == "f"
        and np.array_equal(space.low.ravel().astype(np.float32), low)
        and np.array_equal(space.high.ravel().astype(np.float32), high)
    )


def read_vectors(
    given: NDArray[Any], shape: Sequence[int], config: LSSVWMConfig, name: str, error: type[Exception], hint: str
) -> NDArray[np.float32]:
    """Return continuous actions as float32, checked.

    Args:
        given: Numbers.
        shape: What it must have; the last axis is an action's.
        config: Says where they must lie.
        name: What the message calls them.
        error: What to raise.
        hint: What most likely went wrong if it is the shape.

    Raises:
        error: Type or shape do not fit, or an action is not finite or beyond the bounds.
    """
    if given.dtype.kind not in "fiu" or given.shape != tuple(shape):
        raise error(f"{name} is {given.dtype} of shape {given.shape}, expected floats of shape {tuple(shape)}. {hint}")
    low, high = bounds_of(config)
    with np.errstate(over="ignore"):
        actions = given.astype(np.float32)
    wrong = outside(actions, low, high)
    if wrong.any():
        raise error(
            f"{name} holds {actions[wrong][0].tolist()}, expected finite numbers from {low.tolist()} to "
            f"{high.tolist()}. Most likely a policy that knows no bounds, or one of another environment. {CLIP}"
        )
    return actions
