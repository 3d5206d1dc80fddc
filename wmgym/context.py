"""Where a dream starts: real frames and the actions between them, read from the options of `reset`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.config import LSSVWMConfig, WorldModelConfig
from wmgym.arrays import as_array
from wmgym.errors import ContextError
from wmgym.model_actions import no_action, read_vectors

KEY = "context"
"""Under this key `reset(options=...)` looks for contexts."""
MASK_KEY = "reset_mask"
"""Under this key a vector environment looks for which dreams to start."""


@dataclass(frozen=True)
class Context:
    """Real frames in a row."""

    frames: NDArray[np.uint8]
    """`[t H W c]`: 0 to 255."""

    actions: NDArray[Any]
    """`[t]` int64, or `[t n]` float32 if they are continuous: the action that led to each frame, or what `no_action`
    gives where none did."""


def first_frame(frame: NDArray[np.uint8], config: LSSVWMConfig | None = None) -> Context:
    """Return the context of an episode that has only begun.

    Args:
        frame: `[H W c]`: what the reset showed.
        config: Of the model; None for one of discrete actions.
    """
    return Context(frame[None], no_action(config or LSSVWMConfig())[None])


def read_contexts(
    options: Mapping[str, Any] | None, num_dreams: int, config: WorldModelConfig
) -> list[Context | None] | None:
    """Return what each dream shall start from.

    Args:
        options: As passed to `reset`. Their `context` is None, a mapping with `frames` and `actions` for all
            dreams, or a sequence with one such entry a dream.
        num_dreams: How many dreams there are.
        config: Of the world model.

    Returns:
        One entry a dream, where None means that the dream makes up its first frame too. None instead of a
        list if the options say nothing about contexts.

    Raises:
        ContextError: Type, shape, length or range do not fit; the message says which and how to mend it.
    """
    if options is None:
        return None
    if not isinstance(options, Mapping):
        raise ContextError(f"options is a {type(options).__name__}, expected None or a dictionary.")
    if unknown := sorted(map(str, set(options) - {KEY, MASK_KEY})):
        raise ContextError(
            f"options has the keys {unknown}, expected '{KEY}' (and '{MASK_KEY}' for many dreams). Real frames to "
            f"start from go into options={{'{KEY}': {{'frames': ..., 'actions': ...}}}}."
        )
    if KEY not in options:
        return None
    given = options[KEY]
    if given is None or isinstance(given, Mapping):
        return [None if given is None else _read(given, "", config)] * num_dreams
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ContextError(
            f"options['{KEY}'] is a {type(given).__name__}, expected None, a dictionary with 'frames' and "
            f"'actions' for all dreams, or a list of {num_dreams} of these, one a dream."
        )
    if len(given) != num_dreams:
        raise ContextError(
            f"options['{KEY}'] lists {len(given)} contexts for {num_dreams} dreams. Pass one a dream, in the "
            "order of the dreams, or one dictionary for all."
        )
    return [None if one is None else _read(one, f"[{i}]", config) for i, one in enumerate(given)]


def _read(given: Any, index: str, config: WorldModelConfig) -> Context:
    """Check one context; `index` says in messages which one."""
    where = f"options['{KEY}']{index}"
    if not isinstance(given, Mapping) or set(given) != {"frames", "actions"}:
        found = sorted(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
        raise ContextError(f"{where} is {found}, expected a dictionary with exactly 'frames' and 'actions'.")
    frames = _read_frames(given["frames"], f"{where}['frames']", config.tokenizer.frame_size)
    actions = _read_actions(given["actions"], f"{where}['actions']", len(frames), config.dynamics)
    return Context(frames, actions)


def _read_frames(given: Any, where: str, size: int) -> NDArray[np.uint8]:
    frames = as_array(given, where, ContextError)
    if frames.dtype != np.uint8:
        raise ContextError(
            f"{where} is {frames.dtype}, expected uint8 with intensities 0 to 255, as environments return "
            "them. Frames in [0, 1] become so by (frames * 255).round().astype(numpy.uint8)."
        )
    if frames.ndim != 4 or frames.shape[1:] != (size, size, 3):
        raise ContextError(
            f"{where} has shape {frames.shape}, expected (t, {size}, {size}, 3): time, height, width, RGB. "
            "Resize the frames or move the axes; a single frame needs a leading axis, frame[None]."
        )
    if not len(frames):
        raise ContextError(f"{where} is empty, expected at least 1 frame. To dream the first frame too, pass None.")
    return frames


def _read_actions(given: Any, where: str, frames: int, config: LSSVWMConfig) -> NDArray[np.int64] | NDArray[np.float32]:
    actions = as_array(given, where, ContextError)
    if config.action_size:
        if actions.dtype.kind in "fiu" and actions.shape == (frames, config.action_size):
            actions = np.concatenate([np.array([config.action_low]), actions[1:]])  # entry 0 is ignored
        hint = (
            "actions[i] is the action that led to frames[i], and entry 0 is ignored. Most likely the entry of the "
            "first frame is missing: put any action in front."
        )
        vectors = read_vectors(actions, (frames, config.action_size), config, where, ContextError, hint)
        vectors[0] = no_action(config)
        return vectors
    num_actions = config.num_actions
    if actions.ndim == 2:
        raise ContextError(
            f"{where} has shape {actions.shape}, expected ({frames},). If it is one-hot, as in Memory Maze "
            "recordings, pass actions.argmax(axis=1)."
        )
    if actions.shape != (frames,):
        raise ContextError(
            f"{where} has shape {actions.shape}, expected ({frames},) for {frames} frames: actions[i] is the "
            "action that led to frames[i], and entry 0 is ignored. Most likely the entry of the first frame "
            "is missing: put any number in front."
        )
    if actions.dtype.kind not in "iu":
        raise ContextError(f"{where} is {actions.dtype}, expected integers; convert with astype(int).")
    led = actions[1:]
    if len(led) and (led.min() < 0 or led.max() >= num_actions):
        raise ContextError(
            f"{where} has entries from {led.min()} to {led.max()} after the first, expected 0 to "
            f"{num_actions - 1}. Most likely they were recorded in another environment."
        )
    return np.concatenate([no_action(config)[None], led]).astype(np.int64)
