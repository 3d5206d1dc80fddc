"""The two tasks by which long memory is measured, and what they could at most and at least be answered with.

Spatial retrieval: a walk is shown, then the exact way back is to be dreamed; the truth is the walk, reversed. Spatial
reasoning: a walk is shown, then a walk that goes on from there is to be dreamed (arXiv:2505.20171 section 5.2). What is
known of a frame to be dreamed is where the camera is, so models are conditioned on poses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from model.poses import take
from model.world_model import WorldModel
from wmgym.clips import ClipBatch, cut_clips
from wmgym.errors import ContextError
from wmgym.recording import Episode

TaskName = Literal["retrieval", "reasoning"]
NEVER = -1
NEAR = 0.5
"""A place was seen if the camera stood so near and looked that way: the root of the summed squares of the distance, in
the unit of positions (a cell of the maze, a view of the texture), and of the angle in radians."""


@dataclass(frozen=True)
class MemoryTask:
    """Walks of which the beginnings are shown and the ends are to be dreamed.

    Attributes:
        clips: The walks, whole; images of the ends are the truth.
        context: Frames that are shown.
        nearest: `(clips, generated)` Which of the shown frames was taken nearest to each pose, the last of equals: what
            a lookup by pose would find.
        last_seen: `(clips, generated)` How many frames ago the camera last stood there and looked that way; `NEVER` if
            it did not.
        stood_there: `(clips, generated)` Whether it stood there at all, whichever way it looked. In a world seen from
            above such a view is known, turned; in a maze it is not.
    """

    clips: ClipBatch
    context: int
    nearest: NDArray[np.int64]
    last_seen: NDArray[np.int64]
    stood_there: NDArray[np.bool_]

    @property
    def truth(self) -> NDArray[np.uint8]:
        """`(clips, generated, H, W, 3)` What is to be dreamed."""
        return self.clips.images[:, self.context :]

    def looked_up(self) -> NDArray[np.uint8]:
        """`(clips, generated, H, W, 3)` The shown frame taken nearest to each pose."""
        return self.clips.images[np.arange(len(self.nearest))[:, None], self.nearest]

    def mean_shown(self) -> NDArray[np.uint8]:
        """`(clips, generated, H, W, 3)` The mean of the frames shown: a good answer of one who remembers none."""
        mean = self.clips.images[:, : self.context].mean(1, keepdims=True)
        return np.broadcast_to(mean.round().astype(np.uint8), self.truth.shape)

    def last_shown(self) -> NDArray[np.uint8]:
        """`(clips, generated, H, W, 3)` The last frame shown, again and again."""
        return np.broadcast_to(self.clips.images[:, self.context - 1 : self.context], self.truth.shape)


def make_task(
    name: TaskName,
    world: WorldModel,
    episodes: Sequence[Episode],
    *,
    context: int,
    generated: int,
    clips_per_episode: int,
) -> MemoryTask:
    """Return a task on walks cut from recorded episodes.

    Args:
        name: Of the task.
        world: Whose device decides where tensors lie; conditioned on poses.
        episodes: Held-out recordings that say where the camera was.
        context: Frames shown.
        generated: Frames to be dreamed; for retrieval at most as many as are shown.
        clips_per_episode: Walks cut from each episode, evenly spread.

    Raises:
        ContextError: The model has no poses, an episode is too short or lacks poses, or more frames shall be retrieved
            than are shown.
    """
    if not world.config.dynamics.pose_size:
        raise ContextError(
            "a model of actions given, expected one conditioned on poses: no action leads a recorded walk back. Train "
            "one with experiments/train_world_model.py --conditioning pose."
        )
    clips = cut_clips(world, episodes, clips_per_episode, frames_needed(name, context, generated))
    if name == "retrieval":
        clips = _and_back(clips, generated)
    if clips.poses is None:
        raise ContextError("the clips have no poses.")
    return MemoryTask(clips, context, *look_up(clips.poses.cpu().numpy(), context))


def frames_needed(name: TaskName, context: int, generated: int) -> int:
    """Return how long a recorded walk a task is made of.

    Args:
        name: Of the task.
        context: Frames shown.
        generated: Frames to be dreamed.

    Raises:
        ContextError: More frames shall be retrieved than are shown.
    """
    if name == "reasoning":
        return context + generated
    if generated > context:
        raise ContextError(f"{generated} frames to be retrieved of {context} shown, expected at most as many.")
    return context


def _and_back(clips: ClipBatch, steps: int) -> ClipBatch:
    """The walks and then the first frames of the way back, the last frame shown coming first."""
    frames = clips.images.shape[1]
    order = np.concatenate([np.arange(frames), np.arange(frames)[::-1][:steps]])
    there = torch.from_numpy(order.copy()).to(clips.actions.device)
    actions = clips.actions[:, there].clone()
    actions[:, frames:] = 0  # not looked at: where the camera is says it all
    return replace(clips, images=clips.images[:, order], actions=actions, poses=take(clips.poses, slice(None), there))


def look_up(poses: NDArray[np.float32], context: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return for each frame to be dreamed which shown frame is nearest, and whether and when the place was shown.

    Args:
        poses: `(clips, frames, 4)` As `model.poses` has them.
        context: Frames shown.

    Returns:
        As `MemoryTask.nearest`, `MemoryTask.last_seen` and `MemoryTask.stood_there`.
    """
    shown, asked = poses[:, None, :context], poses[:, context:, None]
    distance = ((asked[..., :2] - shown[..., :2]) ** 2).sum(-1)
    cosine = (asked[..., 2:] * shown[..., 2:]).sum(-1).clip(-1, 1)
    apart = np.sqrt(distance + np.arccos(cosine) ** 2)
    newest_first = apart[..., ::-1].round(4)  # the last of equals
    nearest = context - 1 - newest_first.argmin(-1)
    near = newest_first <= NEAR
    age = 1 + np.arange(poses.shape[1] - context) + near.argmax(-1)
    return nearest, np.where(near.any(-1), age, NEVER), (np.sqrt(distance) <= NEAR).any(-1)
