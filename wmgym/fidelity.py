"""How far a dream is from reality: dreams on from held-out recordings under the real actions, and compares.

Held-out recordings are mazes the model never trained on. Comparisons are made between uint8 frames, border included.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from model.actions import without_first
from model.config import LSSVWMConfig
from model.memory import Memory
from model.poses import take
from model.sampler import draw_noise
from model.sliding_context import imagine_in_context
from model.world_model import WorldModel
from wmgym.clips import POSE_KEYS, ClipBatch, cut_clips
from wmgym.codec import frames_to_tensor, psnr, tensor_to_frames
from wmgym.errors import ContextError
from wmgym.model_actions import described, refuse_outside, with_actions_of
from wmgym.recording import SEED_RANGES, Episode, read_episode

Frames = NDArray[np.uint8]
AT_ONCE = 32
"""Clips that are dreamed side by side: what they remember under full attention grows with clips and with frames."""


@dataclass(frozen=True)
class DreamComparison:
    """Dreamed against real frames of several clips.

    Attributes:
        context: `(clips, context, H, W, 3)`: the real frames the model saw.
        real: `(clips, horizon, H, W, 3)`: what came after them.
        dreamed: `(clips, horizon, H, W, 3)`: what the model dreamed under the same actions.
    """

    context: Frames
    real: Frames
    dreamed: Frames

    def summary(self) -> dict[str, float]:
        """PSNR in dB of the first dreamed frame and of all, and the same for repeating the last real frame.

        `psnr_*` is that of the squared error averaged over clips, so that a clip in which nothing moves, where
        repeating is perfect, does not outweigh the others. `mean_psnr_*` averages PSNR over frames, none above 60 dB.
        """
        copied = np.broadcast_to(self.context[:, -1:], self.real.shape)
        values: dict[str, float] = {}
        for name, frames in (("", self.dreamed), ("copy_", copied)):
            per_frame = psnr(self.real, frames)
            error = 10 ** (-per_frame / 10)
            values |= {
                f"{name}psnr_first": float(-10 * np.log10(error[:, 0].mean())),
                f"{name}psnr_mean": float(-10 * np.log10(error.mean())),
                f"{name}mean_psnr_first": float(per_frame[:, 0].clip(max=60).mean()),
                f"{name}mean_psnr_mean": float(per_frame.clip(max=60).mean()),
            }
        return values


@torch.inference_mode()
def dream_against_reality(
    world: WorldModel,
    episodes: Sequence[Episode],
    *,
    clips_per_episode: int,
    context: int = 50,
    horizon: int = 16,
    denoising_steps: int = 1,
    seed: int = 0,
) -> DreamComparison:
    """Dreams `horizon` frames under the real actions after `context` real frames, for clips spread over the episodes.

    Args:
        world: the model.
        episodes: held-out recordings.
        clips_per_episode: clips cut from each, evenly spread.
        context: real frames observed before the dream starts.
        horizon: frames dreamed.
        denoising_steps: of the sampler.
        seed: fixes the dream's noise; clip i uses generator `seed + i`.

    Raises:
        ContextError: an episode is shorter than `context + horizon` frames.
    """
    clips = cut_clips(world, episodes, clips_per_episode, context + horizon)
    dreamed = dream_along(world, clips, context, denoising_steps=denoising_steps, seed=seed)
    return DreamComparison(clips.images[:, :context], clips.images[:, context:], dreamed)


@torch.inference_mode()
def dream_along(
    world: WorldModel, clips: ClipBatch, context: int, *, denoising_steps: int = 1, seed: int = 0, forget: bool = False
) -> Frames:
    """Dreams the frames after the first `context` of each clip, under its actions or along its poses.

    Args:
        world: the model.
        clips: of which the first frames are observed.
        context: how many.
        denoising_steps: of the sampler.
        seed: fixes the dream's noise; clip i uses generator `seed + i`.
        forget: clear the scan states after the context, as if the model remembered by attention alone.

    Returns:
        `(clips, frames - context, H, W, 3)`.
    """
    parts = [
        _dream_part(world, clips.rows(start, start + AT_ONCE), context, denoising_steps, seed + start, forget)
        for start in range(0, len(clips.images), AT_ONCE)
    ]
    return np.concatenate(parts)


def _dream_part(
    world: WorldModel, clips: ClipBatch, context: int, denoising_steps: int, seed: int, forget: bool
) -> Frames:
    c = world.config.dynamics
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(clips.images))]
    dreamed: list[Frames] = []

    def noise() -> Tensor:
        return draw_noise(generators, (c.latent_channels, c.latent_size, c.latent_size)).to(world.device)

    if not c.steppable:
        latents = encode(world, clips.images[:, max(0, context - c.attention_window) : context])
        for t in range(context, clips.images.shape[1]):
            first = t - latents.shape[1]
            led, poses = clips.actions[:, first : t + 1], take(clips.poses, slice(None), slice(first, t + 1))
            latent = imagine_in_context(world.dynamics, latents, led, noise(), denoising_steps, poses)
            latents = torch.cat([latents, latent[:, None]], 1)[:, -c.attention_window :]
            dreamed.append(tensor_to_frames(world.tokenizer.decode(latent)))
        return np.stack(dreamed, axis=1)
    _, memory = observe_clips(world, clips.between(0, context))
    if forget:
        memory = memory.without_scan()
    for t in range(context, clips.images.shape[1]):
        pose = take(clips.poses, slice(None), t)
        prediction, memory = world.dynamics.imagine(memory, clips.actions[:, t], noise(), denoising_steps, pose)
        dreamed.append(tensor_to_frames(world.tokenizer.decode(prediction.latent)))
    return np.stack(dreamed, axis=1)


@torch.inference_mode()
def observe_clips(world: WorldModel, clips: ClipBatch) -> tuple[Float[Tensor, "b f"], Memory]:
    """Shows real frames to an empty memory.

    Args:
        world: the model.
        clips: from their beginnings.

    Returns:
        The features of the last frames, and the memory after them.
    """
    memory = world.dynamics.initial_memory(len(clips.images))
    for t in range(0, clips.images.shape[1], 10):
        part = clips.between(t, t + 10)
        features, memory = world.dynamics.observe(memory, encode(world, part.images), part.actions, part.poses)
    return features[:, -1], memory


@torch.inference_mode()
def encode(world: WorldModel, frames: Frames) -> Float[Tensor, "b t d h w"]:
    """The latents of frames `(clips, frames, H, W, 3)`."""
    pixels = frames_to_tensor(frames, world.device)
    latents: Tensor = world.tokenizer.encode(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
    return latents


@torch.inference_mode()
def reconstruct(world: WorldModel, frames: Frames, batch: int = 64) -> Frames:
    """Frames through the tokenizer and back, without noise."""
    parts = np.array_split(frames, max(1, len(frames) // batch))
    rebuilt = [world.tokenizer.decode(world.tokenizer.encode(frames_to_tensor(part, world.device))) for part in parts]
    return np.concatenate([tensor_to_frames(part) for part in rebuilt])


@torch.inference_mode()
def predicted_events(
    world: WorldModel, episodes: Sequence[Episode]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """What the heads decide on every real frame, observed in order.

    Args:
        world: the model.
        episodes: of any lengths.

    Returns:
        Rewards and terminations, and which of these belong to a frame: each `(episodes, frames of the longest)`.
    """
    memory = world.dynamics.initial_memory(len(episodes))
    rewards, ends = [], []
    for images, actions in _together(episodes, 20):
        features, memory = world.dynamics.observe(memory, encode(world, images), actions.to(world.device))
        decided, over = world.dynamics.heads.decide(features.flatten(0, 1))
        rewards.append(decided.unflatten(0, features.shape[:2]).cpu().numpy())
        ends.append(over.unflatten(0, features.shape[:2]).cpu().numpy())
    lengths = np.array([len(episode.image) for episode in episodes])
    return np.concatenate(rewards, 1), np.concatenate(ends, 1), np.arange(lengths.max()) < lengths[:, None]


def predicted_rewards(world: WorldModel, episodes: Sequence[Episode]) -> NDArray[np.float32]:
    """The reward head's decision on every real frame, `(episodes, frames)`; see `predicted_events`."""
    return predicted_events(world, episodes)[0]


def read_all(paths: Sequence[Path], frame_size: int | None = None) -> list[Episode]:
    """Reads episodes, with no more of their ground-truth state than where the camera was.

    Args:
        paths: their files.
        frame_size: what frames of videos are scaled down to; None for as they are.
    """
    return [read_episode(path, state_keys=POSE_KEYS, frame_size=frame_size) for path in paths]


def refuse_other_worlds(episodes: Sequence[Episode], dynamics: LSSVWMConfig, frame_size: int) -> None:
    """Refuses episodes that were not recorded in the world of a model.

    Args:
        episodes: recordings.
        dynamics: of the model.
        frame_size: height and width of the model's frames.

    Raises:
        ContextError: an episode has other actions, actions beyond their bounds, or frames of another size.
    """
    for episode in episodes:
        given = with_actions_of(dynamics, episode)
        height, width = episode.image.shape[1:3]
        if (given, height, width) != (dynamics, frame_size, frame_size):
            raise ContextError(
                f"an episode of {described(given)} and frames of {height}x{width} given, expected "
                f"{described(dynamics)} and {frame_size}x{frame_size}, as the model has. Likely cause: recordings of "
                "another environment. Pass those of the environment the model is trained on."
            )
        refuse_outside(episode, dynamics, "an episode", ContextError)


def refuse_training_seeds(episodes: Sequence[Episode], folder: Path) -> None:
    """Refuses to measure on what models are trained on.

    Args:
        episodes: recordings.
        folder: what to call them.

    Raises:
        ValueError: an episode has a training seed.
    """
    trained_on = sum(episode.seed is not None and episode.seed in SEED_RANGES["train"] for episode in episodes)
    if trained_on:
        raise ValueError(
            f"{trained_on} of the {len(episodes)} episodes in {folder} have training seeds, expected held-out ones. "
            "Record some: experiments/collect_episodes.py --split test."
        )


def _together(episodes: Sequence[Episode], frames: int) -> Iterator[tuple[Frames, torch.Tensor]]:
    """All episodes side by side, a few frames at a time; those that are over stand still."""
    longest = max(len(episode.image) for episode in episodes)
    for t in range(0, longest, frames):
        rows = [np.minimum(np.arange(t, min(t + frames, longest)), len(e.image) - 1) for e in episodes]
        actions = torch.from_numpy(np.stack([e.action[row] for e, row in zip(episodes, rows, strict=True)]))
        images = np.stack([e.image[row] for e, row in zip(episodes, rows, strict=True)])
        yield images, actions if t else without_first(actions)
