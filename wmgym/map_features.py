"""What map probes are trained and scored on: features of recorded frames, and the maze they were seen in.

Features come from a frozen world model that observes whole real episodes; `wmgym.map_probes` has the probes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from model.actions import no_actions
from model.world_model import WorldModel
from wmgym.clips import ClipBatch, cut_clips
from wmgym.fidelity import encode, read_all, refuse_other_worlds
from wmgym.recorded_features import FRAMES_AT_ONCE, observed_features
from wmgym.recorded_mazes import Maze

EPISODES_AT_ONCE = 8
"""With `FRAMES_AT_ONCE` it bounds what is occupied while features are extracted."""


@dataclass(frozen=True)
class ProbeData:
    """Features of some frames of episodes, and what a probe is to tell from them."""

    steps: Int[Tensor, " t"]
    """Steps of the episodes that are kept, 0 for the reset."""

    features: Float[Tensor, "b t f"]
    """What the world model makes of each frame."""

    poses: Float[Tensor, "b t 4"]
    """Where the agent is, in cells, and the unit vector along which it looks."""

    free: Bool[Tensor, "b cells"]
    """Which cells of the maze have no wall, row by row."""

    targets: Float[Tensor, "b n 2"]
    """Where the targets are, in cells."""

    def inputs(self) -> Float[Tensor, "b t inputs"]:
        """Return what a probe sees: features, position and direction."""
        return torch.cat([self.features, self.poses], dim=-1)

    def vectors(self) -> Float[Tensor, "b t n 2"]:
        """Return the targets as the agent sees them at each step: see `seen_from`."""
        return seen_from(self.targets[:, None].expand(-1, len(self.steps), -1, -1), self.poses)


def seen_from(points: Float[Tensor, "b t n 2"], poses: Float[Tensor, "b t 4"]) -> Float[Tensor, "b t n 2"]:
    """Return how far to the right of the agent and how far ahead of it points lie, in cells.

    That is `targets_vec` of Memory Maze, if the points are the targets.

    Args:
        points: Positions in cells.
        poses: The agent's position in cells, and the unit vector along which it looks.
    """
    away = points - poses[:, :, None, :2]
    ahead = poses[:, :, None, 2:]
    right = torch.stack([ahead[..., 1], -ahead[..., 0]], dim=-1)
    return torch.stack([(away * right).sum(-1), (away * ahead).sum(-1)], dim=-1)


@torch.inference_mode()
def extract(
    world: WorldModel,
    mazes: Sequence[Maze],
    *,
    every: int = 1,
    remember: bool = True,
    progress: Callable[[int], object] = lambda frames: None,
) -> ProbeData:
    """Let a world model observe whole episodes, and keep the features of every so many frames.

    Besides what is kept, a few episodes are in memory at a time. Nothing is drawn at random.

    Args:
        world: The model, conditioned on actions or on poses.
        mazes: Episodes of one length.
        every: Keep each frame whose step is a multiple of this.
        remember: Carry memory through the episode. Without it, each frame is observed from an empty memory.
        progress: Is told how many frames more were observed.

    Raises:
        RecordingError: A file cannot be read.
        ContextError: An episode is of another world than the model.
    """
    observe = _remembered if remember else _unremembered
    steps = torch.arange(0, len(mazes[0].poses), every)
    features = torch.empty(len(mazes), len(steps), world.config.dynamics.features)
    for begin in range(0, len(mazes), EPISODES_AT_ONCE):
        span = slice(begin, begin + EPISODES_AT_ONCE)
        episodes = read_all([maze.path for maze in mazes[span]])
        refuse_other_worlds(episodes, world.config.dynamics, world.config.tokenizer.frame_size)
        observe(world, cut_clips(world, episodes, 1, len(mazes[0].poses)), every, features[span], progress)
    return ProbeData(
        steps=steps,
        features=features,
        poses=torch.from_numpy(np.stack([maze.poses for maze in mazes]))[:, ::every],
        free=torch.from_numpy(np.stack([maze.free.reshape(-1) for maze in mazes])),
        targets=torch.from_numpy(np.stack([maze.targets for maze in mazes])),
    )


def _remembered(
    world: WorldModel, clips: ClipBatch, every: int, out: Float[Tensor, "b t f"], progress: Callable[[int], object]
) -> None:
    """Write features of frames observed in order."""
    kept = observed = 0
    for features in observed_features(world, clips):
        chosen = features[:, -observed % every :: every]
        out[:, kept : kept + chosen.shape[1]] = chosen.cpu()
        kept, observed = kept + chosen.shape[1], observed + features.shape[1]
        progress(features.shape[0] * features.shape[1])


def _unremembered(
    world: WorldModel, clips: ClipBatch, every: int, out: Float[Tensor, "b t f"], progress: Callable[[int], object]
) -> None:
    """Write features of frames each of which is the first that a memory sees."""
    frames = clips.images[:, ::every]
    for t in range(0, frames.shape[1], FRAMES_AT_ONCE):
        piece = frames[:, t : t + FRAMES_AT_ONCE]
        latents = encode(world, piece.reshape(-1, 1, *piece.shape[2:]))
        start = no_actions(world.config.dynamics, len(latents), 1, world.device)
        poses = None if clips.poses is None else clips.poses[:1, :1].expand(len(latents), -1, -1)
        features, _ = world.dynamics.observe(world.dynamics.initial_memory(len(latents)), latents, start, poses)
        out[:, t : t + FRAMES_AT_ONCE] = features[:, 0].unflatten(0, piece.shape[:2]).cpu()
        progress(len(latents))
