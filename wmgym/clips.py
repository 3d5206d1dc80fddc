"""Clips cut from recorded episodes, side by side as tensors: what a model is shown and measured on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.actions import without_first
from model.axes import Actions, Poses
from model.poses import relative_poses, take
from model.world_model import WorldModel
from wmgym.errors import ContextError
from wmgym.recording import Episode

POSE_KEYS = ("agent_pos", "agent_dir")


@dataclass(frozen=True)
class ClipBatch:
    """Clips of one length.

    Attributes:
        images: `(clips, frames, H, W, 3)`.
        actions: `[clips frames]`, or `[clips frames a]`: the action that led to each frame; none to the first of each.
        poses: `[clips frames 4]`: relative to the first frame, for a model with poses; else None.
    """

    images: NDArray[np.uint8]
    actions: Actions
    poses: Poses | None

    def rows(self, start: int, stop: int) -> "ClipBatch":
        """The clips from number `start` to `stop`."""
        return ClipBatch(self.images[start:stop], self.actions[start:stop], take(self.poses, slice(start, stop)))

    def between(self, start: int, stop: int) -> "ClipBatch":
        """The frames from `start` to `stop`, poses still relative to the first frame of the whole clip."""
        poses = take(self.poses, slice(None), slice(start, stop))
        return ClipBatch(self.images[:, start:stop], self.actions[:, start:stop], poses)


def long_enough(episodes: Sequence[Episode], frames: int, say: Callable[[str], object]) -> list[Episode]:
    """Return the episodes of which clips can be cut; the others are counted and named.

    Args:
        episodes: recordings.
        frames: of a clip.
        say: told which are left out, if any are.

    Raises:
        ContextError: none is long enough.
    """
    kept = [episode for episode in episodes if len(episode.image) >= frames]
    short = [episode for episode in episodes if len(episode.image) < frames]
    if not kept:
        places_in(episodes, 1, frames)
    if short:
        names = ", ".join(f"seed {episode.seed} ({len(episode.image)} frames)" for episode in short[:5])
        say(
            f"{len(short)} of {len(episodes)} episodes are shorter than a clip of {frames} frames and left out: {names}"
            f"{', ...' if len(short) > 5 else ''}"
        )
    return kept


def places_in(episodes: Sequence[Episode], clips_per_episode: int, frames: int) -> list[tuple[Episode, int]]:
    """Where clips begin, spread evenly over each episode: (episode, first frame).

    Raises:
        ContextError: there is no episode, or one is too short.
    """
    if not episodes:
        raise ContextError("no episode to cut clips from; record some with experiments/collect_episodes.py.")
    places = []
    for episode in episodes:
        room = len(episode.image) - frames
        if room < 0:
            raise ContextError(
                f"an episode of {len(episode.image)} frames is too short for clips of {frames}; use longer episodes or "
                "a shorter context."
            )
        places += [(episode, int(start)) for start in np.linspace(0, room, clips_per_episode, dtype=int)]
    return places


def refuse_without_poses(episodes: Sequence[Episode]) -> None:
    """Refuse episodes of which it is not known where the camera was.

    Raises:
        ContextError: one lacks a pose.
    """
    if any(key not in episode.state for episode in episodes for key in POSE_KEYS):
        raise ContextError(
            f"an episode has no {' or no '.join(POSE_KEYS)}, which a model conditioned on poses needs. Most likely the "
            "recordings are of an environment that does not tell; use one that does, or a model of actions."
        )


def cut_clips(world: WorldModel, episodes: Sequence[Episode], clips_per_episode: int, frames: int) -> ClipBatch:
    """Clips spread evenly over each episode.

    Args:
        world: whose device and conditioning decide what is cut.
        episodes: recordings.
        clips_per_episode: how many.
        frames: of each clip.

    Raises:
        ContextError: there is no episode, one is too short, or the model has poses and one has none.
    """
    places = places_in(episodes, clips_per_episode, frames)

    def stack(values: list[NDArray[Any]]) -> NDArray[Any]:
        return np.stack([v[start : start + frames] for v, (_, start) in zip(values, places, strict=True)])

    actions = without_first(torch.from_numpy(stack([e.action for e, _ in places]))).to(world.device)
    poses = None
    if world.config.dynamics.pose_size:
        refuse_without_poses(episodes)
        told = (torch.from_numpy(stack([e.state[key] for e, _ in places])) for key in POSE_KEYS)
        poses = relative_poses(*told).to(world.device)
    return ClipBatch(stack([e.image for e, _ in places]), actions, poses)
