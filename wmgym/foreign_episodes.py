"""What every other format's episodes must become before they are ours: square uint8 frames, actions in their space."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from numpy.typing import NDArray

from wmgym.action_spaces import action_count, from_model, to_model
from wmgym.errors import RecordingError
from wmgym.recording import Episode
from wmgym.square_frames import squash

ROUNDING = 1e-4
"""Share of a `Box`'s range by which an action may lie outside for being rounded; it is clipped."""


def choose_picture(space: Space[Any], key: str | None) -> tuple[list[str], Box]:
    """Return where in an observation the picture is, and its space.

    Args:
        space: Of observations: a picture, or a `Dict`, nested or not, with a picture in it.
        key: Which entry of the `Dict`, `outer/inner` if nested; None for the only one that is a picture.

    Raises:
        ValueError: There is no such entry, it is no picture, or there are several and none is named.
    """
    found = dict(_leaves(space))
    names = ", ".join(name for name in found if name) or "none"
    if key is not None:
        if key not in found:
            raise ValueError(f"image key {key!r} given, expected one of the observation's: {names}.")
        why = why_no_picture(found[key])
        if why:
            raise ValueError(f"image key {key!r} given, and that entry is {why}")
        chosen = key
    else:
        pictures = [name for name, leaf in found.items() if not why_no_picture(leaf)]
        if len(pictures) != 1:
            if "" in found:
                raise ValueError(f"observations are {why_no_picture(found[''])}")
            raise ValueError(
                f"observations are a Dict of {names}, of which {len(pictures)} are pictures"
                f"{' (' + ', '.join(pictures) + ')' if pictures else ''}; expected one. Fix: name it as --image-key."
            )
        chosen = pictures[0]
    picture = found[chosen]
    assert isinstance(picture, Box)
    return chosen.split("/") if chosen else [], picture


def _leaves(space: Space[Any], prefix: str = "") -> list[tuple[str, Space[Any]]]:
    """Return the spaces inside a `Dict` with their names, or the space itself without one."""
    if not isinstance(space, Dict):
        return [(prefix.removesuffix("/"), space)]
    return [leaf for key, inner in space.spaces.items() for leaf in _leaves(inner, f"{prefix}{key}/")]


def why_no_picture(space: Space[Any]) -> str | None:
    """Return what a space is, and why that is no picture; None if it is one."""
    if isinstance(space, Box) and space.dtype.kind == "f" and len(space.shape) in (2, 3):
        return (
            f"{space.dtype.name} {space.shape}, expected uint8 pictures, 0 to 255. Likely cause: they were scaled when "
            "they were recorded. Fix: multiply them back to 0..255 and store uint8."
        )
    if not isinstance(space, Box) or space.dtype != np.uint8 or _channels_axis(space.shape) is None:
        return (
            f"{space}, expected uint8 pictures (H, W, 3), (H, W, 1), (H, W), (3, H, W) or (1, H, W). Fix: record "
            "single frames, not stacks."
        )
    return None


def _channels_axis(shape: tuple[int, ...]) -> int | None:
    """Return where the colours of a picture are (2 for one without), or None if it is no picture."""
    if len(shape) == 2:
        return 2
    if len(shape) != 3:
        return None
    return 2 if shape[2] in (1, 3) else 0 if shape[0] in (1, 3) else None


def square_frames(pictures: NDArray[np.uint8], frame_size: int | None) -> NDArray[np.uint8]:
    """Return pictures as square RGB frames `[t H W 3]`.

    Args:
        pictures: `[t ...]`, each of a shape that `why_no_picture` accepts.
        frame_size: Bring each side to so many pixels (`wmgym.square_frames`); None for as they are.

    Raises:
        ValueError: They are not square, and no size is asked for.
    """
    if pictures.ndim == 3:
        pictures = pictures[..., None]
    elif _channels_axis(pictures.shape[1:]) == 0:
        pictures = np.moveaxis(pictures, 1, -1)
    if pictures.shape[-1] == 1:
        pictures = np.repeat(pictures, 3, axis=-1)
    height, width = pictures.shape[1:3]
    if frame_size is None:
        if height != width:
            raise ValueError(f"frames are {height}x{width}, expected squares. Fix: pass --frame-size, such as 64.")
        return np.ascontiguousarray(pictures)
    return np.stack([squash(picture, frame_size) for picture in pictures])


def build_episode(
    frames: NDArray[np.uint8],
    actions: NDArray[Any],
    rewards: NDArray[Any],
    action_space: Space[Any],
    *,
    terminated: bool,
    policy: str,
    seed: int | None = None,
    state: dict[str, NDArray[Any]] | None = None,
) -> Episode:
    """Return an episode of ours from T + 1 frames, T actions and T rewards.

    Args:
        frames: `[T+1 H W 3]`.
        actions: `[T ...]` in the type of the space.
        rewards: `[T]`.
        action_space: One that `wmgym.action_spaces` knows.
        terminated: Whether the episode ended with its last frame by itself.
        policy: What acted.
        seed: Of the reset, if known.
        state: Entries of `STATE_KEYS`, `[T+1 ...]` each.

    Raises:
        RecordingError: Lengths differ, there is no step, a number is not finite, or an action is not in the space.
    """
    steps = len(actions)
    if steps < 1 or len(frames) != steps + 1 or len(rewards) != steps:
        raise RecordingError(
            f"{len(frames)} frames, {steps} actions and {len(rewards)} rewards, expected one frame more than actions, "
            "as many rewards as actions, and a step at least. Likely cause: the writer was stopped half-way."
        )
    with np.errstate(over="ignore"):
        reward = np.concatenate([[0.0], np.asarray(rewards, np.float64).reshape(steps)]).astype(np.float32)
    if not np.isfinite(reward).all():
        raise RecordingError("rewards are not finite everywhere, as float32. Fix: leave this episode out.")
    kept = _inside(action_space, actions)
    seen = to_model(action_space, kept)
    plain = isinstance(action_space, Discrete) and action_space.start == 0
    return Episode(
        image=frames,
        action=np.concatenate([np.zeros_like(seen[:1]), seen]),
        reward=reward,
        action_count=action_count(action_space),
        state=state or {},
        seed=seed,
        policy=policy,
        terminated=terminated,
        action_space=None if plain else action_space,
    )


def _inside(space: Space[Any], actions: NDArray[Any]) -> NDArray[Any]:
    """Return actions in the type of their space, those of a `Box` clipped where rounding put them outside."""
    given = np.asarray(actions)
    assert space.shape is not None
    if given.shape[1:] != space.shape:
        raise RecordingError(f"actions are {given.dtype} {given.shape[1:]} each, expected {space}.")
    if isinstance(space, Box):
        slack = ROUNDING * (space.high.astype(np.float64) - space.low)
        outside = ~((given >= space.low - slack) & (given <= space.high + slack))
        given = np.clip(given, space.low, space.high).astype(space.dtype)
    else:
        low = np.asarray(space.start)  # type: ignore[attr-defined]
        size = np.asarray(space.n if isinstance(space, Discrete) else space.nvec)  # type: ignore[attr-defined]
        outside = (given < low) | (given >= low + size) | (given != np.floor(given))
    if outside.any():
        row = int(np.argwhere(outside)[0][0])
        raise RecordingError(
            f"action {row} is {np.asarray(actions)[row].tolist()}, which {space} does not contain. Likely cause: "
            "actions were not clipped when they were recorded, or what describes the data set is older than its data."
        )
    return given


def recorded_actions(episode: Episode) -> tuple[Space[Any], NDArray[Any]]:
    """Return an episode's action space, and its T actions as the environment took them."""
    space = Discrete(episode.action_count) if episode.action_space is None else episode.action_space
    return space, from_model(space, episode.action[1:])
