"""What the network makes of the past itself, remembered in training, so that it learns to go on from its mistakes.

Two ways. `predict_all`: every frame is predicted from the real frames before it, which shows what is there with the
network's errors in it. `dream_the_end`: the last frames are a dream, by `observe` and `imagine` as an environment uses
them. In both the real frames stay what is scored (in the spirit of scheduled sampling, arXiv:1506.03099).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from model.actions import filled
from model.axes import Actions, Latents, Poses
from model.lssvwm import LSSVWM
from model.poses import take
from model.sampler import sample
from model.two_streams import run_streams


@dataclass(frozen=True)
class Dreaming:
    """How much of what is remembered is dreamed, and how."""

    share: float
    """Share of the rows that remember dreams, half of them by `predict_all`, half by `dream_the_end`."""
    passes: int = 1
    """How often `predict_all` is repeated, each time from its own predictions; once if it takes several steps."""
    frames: int = 8
    """How many frames `dream_the_end` dreams."""
    steps: int = 1
    """Denoising steps of both."""


def draw_dreaming(most: Dreaming, steps: Sequence[int], rng: np.random.Generator) -> Dreaming | None:
    """How one step of training dreams: passes and frames up to the most, and one of the numbers of denoising steps.

    Args:
        most: what to stay within; nothing is dreamed if its share is 0.
        steps: denoising steps to choose from.
        rng: consumed.
    """
    passes, frames = (int(rng.integers(1, n + 1)) for n in (most.passes, most.frames))
    drawn = replace(most, passes=passes, frames=frames, steps=int(rng.choice(steps)))
    return drawn if most.share else None


@torch.no_grad()
def dream_in(
    model: LSSVWM,
    remembered: Latents,
    actions: Actions,
    dreaming: Dreaming,
    generator: torch.Generator,
    poses: Poses | None = None,
) -> Latents:
    """The remembered latents, those of some rows in part dreamed.

    Args:
        model: the dreamer.
        remembered: real ones, or nearly.
        actions: the action that led to each frame.
        dreaming: how much, and how.
        generator: consumed for which rows dream, and for their noise.
        poses: of each frame, if the model has poses.
    """
    rows, device = len(remembered), remembered.device
    up = torch.rand(2, generator=generator, device=device).tolist()  # round up or down, right on average
    dreamed = int(dreaming.share * rows + up[0])
    predicted = int(dreamed / 2 + up[1])
    order = torch.randperm(rows, generator=generator, device=device)
    everywhere, at_the_end = order[:predicted], order[predicted:dreamed]
    remembered = remembered.clone()
    if len(everywhere):
        remembered[everywhere] = predict_all(
            model,
            remembered[everywhere],
            actions[everywhere],
            dreaming.passes if dreaming.steps == 1 else 1,
            generator,
            dreaming.steps,
            poses=take(poses, everywhere),
        )
    frames = min(dreaming.frames, remembered.shape[1] - 1)
    if len(at_the_end) and frames:
        remembered[at_the_end] = dream_the_end(
            model,
            remembered[at_the_end],
            actions[at_the_end],
            frames,
            generator,
            dreaming.steps,
            poses=take(poses, at_the_end),
        )
    return remembered


@torch.no_grad()
def predict_all(
    model: LSSVWM,
    latents: Latents,
    actions: Actions,
    passes: int,
    generator: torch.Generator,
    denoising_steps: int = 1,
    kept: int = 8,
    poses: Poses | None = None,
) -> Latents:
    """The latents with each frame replaced by what the model expects there, one step ahead.

    They show what is there, with the model's own kind of error in every frame: remembering them is what dreaming on for
    long is like, and yet the real frames still follow from them.

    Args:
        model: the predictor.
        latents: real ones; the first pass predicts from these.
        actions: the action that led to each frame.
        passes: how often; each pass predicts from what the one before left.
        generator: consumed for one noise a pass.
        denoising_steps: of the sampler, for all frames at once.
        kept: first frames that stay as they are, because too little is known yet.
        poses: of each frame, if the model has poses.
    """
    predicted = latents

    def denoise(z: Latents, level: int, stride: int) -> Latents:
        levels, strides = filled(actions, level), filled(actions, stride)
        return run_streams(model, predicted, z, actions, levels, strides, poses)[0]

    for _ in range(passes):
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        expected = sample(denoise, noise, denoising_steps, model.config.max_denoising_steps)
        predicted = torch.cat([latents[:, :kept], expected[:, kept:].to(latents.dtype)], dim=1)
    return predicted


@torch.no_grad()
def dream_the_end(
    model: LSSVWM,
    latents: Latents,
    actions: Actions,
    frames: int,
    generator: torch.Generator,
    denoising_steps: int = 1,
    poses: Poses | None = None,
) -> Latents:
    """The latents with their last `frames` replaced by what the model dreams there.

    Args:
        model: the dreamer.
        latents: what it observes up to the dream.
        actions: the action that led to each frame.
        frames: how many are dreamed, fewer than there are.
        generator: consumed for one noise a dreamed frame.
        denoising_steps: of the sampler.
        poses: of each frame, if the model has poses.
    """
    kept = latents.shape[1] - frames
    seen = latents[:, :kept], actions[:, :kept], take(poses, slice(None), slice(kept))
    _, memory = model.observe(model.initial_memory(len(latents)), *seen)
    dreamed = []
    for t in range(kept, latents.shape[1]):
        noise = torch.randn(latents[:, t].shape, generator=generator, device=latents.device)
        pose = take(poses, slice(None), t)
        prediction, memory = model.imagine(memory, actions[:, t], noise, denoising_steps, pose)
        dreamed.append(prediction.latent.to(latents.dtype))
    return torch.cat([latents[:, :kept], torch.stack(dreamed, dim=1)], dim=1)
