"""What the network is trained to do: predict clean frames from noised ones and a remembered past.

Two ways to choose what is noised:

`diffusion_forcing`: one stream; every frame has its own noise level; with probability one half a prefix longer than
half the sequence is clean and not scored (arXiv:2505.20171 section 4.2 and S2).

`clean_past`: two streams through the same weights; stream 0 is clean (or nearly) and remembered, stream 1 is noised and
scored, each frame of it seeing stream 0's past: every frame is predicted as stepping will have to predict it.

Targets are clean latents (flow matching, x-prediction), or for a share of the rows the point that two half-strides of
the network itself reach (shortcut models, arXiv:2410.12557; x-space form and ramp weight from arXiv:2509.24527).

Declared deviation: the one-step sampler learns from clean latents too. Its output is then the conditional mean of the
next frame, and not a draw that two half-strides would reach; 2, 4 and more steps draw.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from model.actions import without_first
from model.axes import Actions, Latents, Poses
from model.lssvwm import LSSVWM
from model.own_dreams import Dreaming, dream_in
from model.poses import take
from model.two_streams import run_streams

Mode = Literal["clean_past", "diffusion_forcing"]
Predictor = Callable[[Latents, Int[Tensor, "b t"], Int[Tensor, "b t"]], Latents]
"""`(noised latents, noise levels, strides) -> predicted clean latents`."""


@dataclass(frozen=True)
class DiffusionConfig:
    """How training frames are noised and scored."""

    mode: Mode = "clean_past"
    prefix_probability: float = 0.5
    """`diffusion_forcing`: how often a prefix longer than half the sequence is kept clean. 0 is plain forcing: clean is
    one of the levels of noise, as likely as each other."""
    pure_noise_probability: float = 0.5
    """How often a frame is predicted in one step from pure noise; the samplers' noise levels share the rest."""
    context_noise: float = 0.1
    """`clean_past`: remembered frames get at most this share of noise, as dreamed frames are never perfect."""
    dreaming: Dreaming | None = None
    """`clean_past`: how much of what is remembered the network dreams itself; None for nothing."""
    shortcut_fraction: float = 0.25
    """Share of the rows whose target is two half-strides of the network itself."""


@dataclass(frozen=True)
class Noised:
    """Latents prepared for one loss.

    Attributes:
        remembered: `[b t d h w]`: stream 0 of `clean_past`; None under `diffusion_forcing`.
        latents: `[b t d h w]`: what is denoised.
        levels: `[b t]`: their noise levels.
        strides: `[b t]`: log2 of the stride each is denoised with.
        scored: `[b t]`: which frames count.
    """

    remembered: Latents | None
    latents: Latents
    levels: Int[Tensor, "b t"]
    strides: Int[Tensor, "b t"]
    scored: Bool[Tensor, "b t"]


def add_noise(
    latents: Latents, config: DiffusionConfig, max_steps: int, shortcut_rows: int, generator: torch.Generator
) -> Noised:
    """Draws noise levels and strides and noises the latents.

    Args:
        latents: clean.
        config: what to draw.
        max_steps: the network's finest sampler.
        shortcut_rows: the first rows get the strides between the finest and the one-step sampler's.
        generator: consumed for levels, strides, prefix and noise.
    """
    shape, device = latents.shape[:2], latents.device
    exponents = max_steps.bit_length() - 1
    strides = torch.zeros(shape, dtype=torch.int64, device=device)
    if shortcut_rows:
        drawn = torch.randint(1, exponents, (shortcut_rows, shape[1]), generator=generator, device=device)
        strides[:shortcut_rows] = drawn
    uniform = torch.rand(shape, generator=generator, device=device)
    levels = (uniform * (max_steps >> strides)).long() << strides  # a multiple of the stride below clean
    one_step = torch.rand(shape, generator=generator, device=device) < config.pure_noise_probability
    one_step[:shortcut_rows] = False
    levels, strides = levels.masked_fill(one_step, 0), strides.masked_fill(one_step, exponents)
    scored = torch.ones(shape, dtype=torch.bool, device=device)
    if config.mode == "diffusion_forcing":
        clean = _clean_prefix(shape, config.prefix_probability, generator, device)
        if not config.prefix_probability:  # dreams take in finished frames at a level that must be learned somewhere
            clean = torch.rand(shape, generator=generator, device=device) < 1 / (max_steps + 1)
        scored = ~clean | clean.all(1, keepdim=True)
        levels = levels.masked_fill(~scored, max_steps)
        strides = strides.masked_fill(~scored, 0)
    noised = _mix(latents, levels / max_steps, generator)
    remembered = None
    if config.mode == "clean_past":
        share = config.context_noise * torch.rand(shape, generator=generator, device=device)
        remembered = _mix(latents, 1 - share, generator)
    return Noised(remembered, noised, levels, strides, scored)


def denoising_loss(
    model: LSSVWM,
    latents: Latents,
    actions: Actions,
    config: DiffusionConfig,
    generator: torch.Generator,
    poses: Poses | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "b t f"], Bool[Tensor, "b t"]]:
    """How far predicted clean latents are from where they should be.

    Frames predicted in one step weigh 1, the others `0.9 tau + 0.1`.

    Args:
        model: the network; each sequence starts from an empty memory.
        latents: clean.
        actions: the action that led to each frame; the first of each row is ignored.
        config: what is noised and scored.
        generator: consumed for levels, strides, noise, and which rows have few-step targets or remember dreams.
        poses: of each frame, if the model has poses.

    Returns:
        The loss, the features of the remembered frames, and which of these frames are those of the recording, to the
        noise and the errors of dreams (all under `clean_past`; those of the clean prefix under `diffusion_forcing`).
    """
    max_steps = model.config.max_denoising_steps
    rows = 0
    if config.shortcut_fraction and max_steps > 2:  # strides between the finest and the one-step sampler's exist
        rounding = float(torch.rand((), generator=generator, device=latents.device))
        rows = int(config.shortcut_fraction * len(latents) + rounding)
    noised = add_noise(latents, config, max_steps, rows, generator)
    actions = without_first(actions)
    if noised.remembered is not None and config.dreaming is not None:
        noised = replace(
            noised, remembered=dream_in(model, noised.remembered, actions, config.dreaming, generator, poses)
        )
    target = latents
    if rows:
        head = Noised(*(v[:rows] if v is not None else None for v in vars(noised).values()))  # type: ignore[arg-type]
        led, at = actions[:rows], take(poses, slice(rows))
        with torch.no_grad():
            reached = shortcut_target(
                lambda z, levels, strides: run_streams(model, head.remembered, z, led, levels, strides, at)[0],
                head.latents, head.levels, head.strides, max_steps,
            )  # fmt: skip
        scored = head.scored[..., None, None, None]
        target = torch.cat([torch.where(scored, reached, latents[:rows]), latents[rows:]])
    predicted, features = run_streams(
        model, noised.remembered, noised.latents, actions, noised.levels, noised.strides, poses
    )
    error = (predicted.float() - target).square().mean((2, 3, 4))
    ramp = 0.9 * noised.levels / max_steps + 0.1
    weight = ramp.masked_fill(noised.strides == max_steps.bit_length() - 1, 1.0) * noised.scored
    remembered_clean = noised.levels == max_steps if noised.remembered is None else torch.ones_like(noised.scored)
    return (weight * error).sum() / weight.sum(), features, remembered_clean


def shortcut_target(
    predict: Predictor,
    latents: Latents,
    levels: Int[Tensor, "b t"],
    strides: Int[Tensor, "b t"],
    max_steps: int,
) -> Latents:
    """The clean latent that one full stride would have to predict to land where two half-strides land.

    With `b' , b''` the velocities of the two halves this is `z + (1 - tau) (b' + b'') / 2` (arXiv:2410.12557 Eq. 5,
    multiplied out to x-space).
    """
    tau = _per_frame(levels / max_steps)
    half = _per_frame((1 << strides) / (2 * max_steps))
    finer = (strides - 1).clamp_min(0)
    clean = (tau >= 1).expand_as(latents)
    room = (1 - tau).clamp_min(1e-6)
    first = (predict(latents, levels, finer) - latents) / room
    midway = torch.where(clean, latents, latents + half * first)
    middle_levels = torch.where(levels < max_steps, levels + (1 << finer), levels)
    second = (predict(midway, middle_levels, finer) - midway) / (1 - tau - half).clamp_min(1e-6)
    return latents + (1 - tau) * (first + second) / 2


def _clean_prefix(
    shape: tuple[int, ...], probability: float, generator: torch.Generator, device: torch.device
) -> Bool[Tensor, "b t"]:
    rows, frames = shape
    kept = torch.rand((rows, 1), generator=generator, device=device) < probability
    shortest = min(frames // 2 + 1, frames - 1)  # at least one frame is scored
    length = torch.randint(shortest, max(frames, shortest + 1), (rows, 1), generator=generator, device=device)
    return kept & (torch.arange(frames, device=device) < length)


def _mix(latents: Latents, tau: Float[Tensor, "b t"], generator: torch.Generator) -> Latents:
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    return torch.lerp(noise, latents, _per_frame(tau))


def _per_frame(v: Float[Tensor, "b t"]) -> Float[Tensor, "b t 1 1 1"]:
    return v[..., None, None, None]
