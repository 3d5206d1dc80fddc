"""What the network is trained to do: predict clean frames from noised ones and a remembered past.

Two ways to choose what is noised:

`diffusion_forcing`: one stream; every frame has its own noise level; with probability one half a prefix longer than
half the sequence is clean and not scored (arXiv:2505.20171 section 4.2 and S2).

`clean_past`: two streams through the same weights; stream 0 is clean (or nearly) and remembered, stream 1 is noised and
scored, each frame of it seeing stream 0's past: every frame is predicted as stepping will have to predict it.

Targets are clean latents (flow matching, x-prediction), or for a share of the rows the point that two half-strides of
the network itself reach (shortcut models, arXiv:2410.12557; x-space form and ramp weight from arXiv:2509.24527).

Declared deviation: the one-step sampler learns from clean latents too. Its output is then the conditional mean of the
next frame, and not a draw that two half-strides would reach; 2, 4 and more steps draw. Under `clean_past` part of what
is remembered can be the network's own dream, so that it learns to go on from its mistakes (in the spirit of scheduled
sampling, arXiv:1506.03099).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from model.axes import START_ACTION, Actions, Latents
from model.lssvwm import LSSVWM
from model.sampler import sample

Mode = Literal["clean_past", "diffusion_forcing"]
Predictor = Callable[[Latents, Int[Tensor, "b t"], Int[Tensor, "b t"]], Latents]
"""`(noised latents, noise levels, strides) -> predicted clean latents`."""


@dataclass(frozen=True)
class DiffusionConfig:
    """How training frames are noised and scored."""

    mode: Mode = "clean_past"
    prefix_probability: float = 0.5
    """`diffusion_forcing`: how often a prefix longer than half the sequence is kept clean. 0 is plain forcing."""
    pure_noise_probability: float = 0.5
    """How often a frame is predicted in one step from pure noise; the samplers' noise levels share the rest."""
    context_noise: float = 0.1
    """`clean_past`: remembered frames get at most this share of noise, as dreamed frames are never perfect."""
    dreamed_share: float = 0.0
    """`clean_past`: share of the rows whose remembered frames are, in part, dreamed by the network itself: by one half
    of them each frame is (`predict_all`), by the other the last ones are (`dream_the_end`)."""
    predict_passes: int = 1
    """How often `predict_all` is repeated, each time from its own predictions; once if it takes several steps."""
    dreamed_frames: int = 8
    """How many frames `dream_the_end` dreams."""
    dream_steps: int = 1
    """Denoising steps of these predictions and dreams."""
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
        scored = ~_clean_prefix(shape, config.prefix_probability, generator, device)
        levels = levels.masked_fill(~scored, max_steps)
        strides = strides.masked_fill(~scored, 0)
    noised = _mix(latents, levels / max_steps, generator)
    remembered = None
    if config.mode == "clean_past":
        share = config.context_noise * torch.rand(shape, generator=generator, device=device)
        remembered = _mix(latents, 1 - share, generator)
    return Noised(remembered, noised, levels, strides, scored)


def denoising_loss(
    model: LSSVWM, latents: Latents, actions: Actions, config: DiffusionConfig, generator: torch.Generator
) -> tuple[Float[Tensor, ""], Float[Tensor, "b t f"], Bool[Tensor, "b t"]]:
    """How far predicted clean latents are from where they should be.

    Frames predicted in one step weigh 1, the others `0.9 tau + 0.1`.

    Args:
        model: the network; each sequence starts from an empty memory.
        latents: clean.
        actions: the action that led to each frame; the first of each row is ignored.
        config: what is noised and scored.
        generator: consumed for levels, strides, noise, and which rows have few-step targets or remember dreams.

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
    actions = torch.cat([torch.full_like(actions[:, :1], START_ACTION), actions[:, 1:]], dim=1)
    if noised.remembered is not None and config.dreamed_share:
        noised = replace(noised, remembered=_dream_in(model, noised.remembered, actions, config, generator))
    target = latents
    if rows:
        head = Noised(*(v[:rows] if v is not None else None for v in vars(noised).values()))  # type: ignore[arg-type]
        with torch.no_grad():
            reached = shortcut_target(
                lambda z, levels, strides: _run(model, head, actions[:rows], z, levels, strides)[0],
                head.latents, head.levels, head.strides, max_steps,
            )  # fmt: skip
        scored = head.scored[..., None, None, None]
        target = torch.cat([torch.where(scored, reached, latents[:rows]), latents[rows:]])
    predicted, features = _run(model, noised, actions, noised.latents, noised.levels, noised.strides)
    error = (predicted.float() - target).square().mean((2, 3, 4))
    ramp = 0.9 * noised.levels / max_steps + 0.1
    weight = ramp.masked_fill(noised.strides == max_steps.bit_length() - 1, 1.0) * noised.scored
    remembered_clean = noised.levels == max_steps if noised.remembered is None else torch.ones_like(noised.scored)
    return (weight * error).sum() / weight.sum(), features, remembered_clean


@torch.no_grad()
def predict_all(
    model: LSSVWM,
    latents: Latents,
    actions: Actions,
    passes: int,
    generator: torch.Generator,
    denoising_steps: int = 1,
    kept: int = 8,
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
    """
    predicted = latents

    def denoise(z: Latents, level: int, stride: int) -> Latents:
        levels, strides = torch.full_like(actions, level), torch.full_like(actions, stride)
        return _run(model, Noised(predicted, z, levels, strides, levels == level), actions, z, levels, strides)[0]

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
) -> Latents:
    """The latents with their last `frames` replaced by what the model dreams there.

    Args:
        model: the dreamer.
        latents: what it observes up to the dream.
        actions: the action that led to each frame.
        frames: how many are dreamed, fewer than there are.
        generator: consumed for one noise a dreamed frame.
        denoising_steps: of the sampler.
    """
    kept = latents.shape[1] - frames
    _, memory = model.observe(model.initial_memory(len(latents)), latents[:, :kept], actions[:, :kept])
    dreamed = []
    for t in range(kept, latents.shape[1]):
        noise = torch.randn(latents[:, t].shape, generator=generator, device=latents.device)
        prediction, memory = model.imagine(memory, actions[:, t], noise, denoising_steps)
        dreamed.append(prediction.latent.to(latents.dtype))
    return torch.cat([latents[:, :kept], torch.stack(dreamed, dim=1)], dim=1)


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


def _dream_in(
    model: LSSVWM, remembered: Latents, actions: Actions, config: DiffusionConfig, generator: torch.Generator
) -> Latents:
    """Remembered latents, those of some rows, drawn at random, in part dreamed."""
    rows, device = len(remembered), remembered.device
    up = torch.rand(2, generator=generator, device=device).tolist()  # round up or down, right on average
    dreamed = int(config.dreamed_share * rows + up[0])
    predicted = int(dreamed / 2 + up[1])
    order = torch.randperm(rows, generator=generator, device=device)
    everywhere, at_the_end = order[:predicted], order[predicted:dreamed]
    remembered = remembered.clone()
    if len(everywhere):
        remembered[everywhere] = predict_all(
            model,
            remembered[everywhere],
            actions[everywhere],
            config.predict_passes if config.dream_steps == 1 else 1,
            generator,
            config.dream_steps,
        )
    frames = min(config.dreamed_frames, remembered.shape[1] - 1)
    if len(at_the_end) and frames:
        remembered[at_the_end] = dream_the_end(
            model, remembered[at_the_end], actions[at_the_end], frames, generator, config.dream_steps
        )
    return remembered


def _run(
    model: LSSVWM, noised: Noised, actions: Actions, latents: Latents, levels: Tensor, strides: Tensor
) -> tuple[Latents, Float[Tensor, "b t f"]]:
    """One forward pass from empty memory, with the remembered stream beside the noised one where there is one."""
    streams, all_levels, all_strides = latents[:, None], levels[:, None], strides[:, None]
    if noised.remembered is not None:
        streams = torch.stack([noised.remembered, latents], dim=1)
        clean = torch.full_like(levels, model.config.max_denoising_steps)
        all_levels = torch.stack([clean, levels], dim=1)
        all_strides = torch.stack([torch.zeros_like(strides), strides], dim=1)
    empty = model.initial_memory(len(latents))
    predicted, features, _ = model(streams, actions, all_levels, all_strides, empty, remember=False)
    return predicted, features


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
