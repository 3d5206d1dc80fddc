"""What a model costs as sequences grow: time of a training iteration, bytes remembered, time of a dreamed frame.

The measures of the paper's figure 8 (arXiv:2505.20171), which states neither numbers nor hardware. The paper's
inference time is that of one forward pass; here it is that of one `imagine`, which ends with a second pass that takes
the frame in.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.actions import filled, random_actions
from model.axes import Actions, Latents
from model.diffusion import DiffusionConfig, Mode, denoising_loss
from model.lssvwm import LSSVWM
from model.memory import Memory
from model.two_streams import run_streams

CHUNK = 100
"""Frames that are observed at once on the way to a long context."""
REPETITIONS = 3
"""Each time is the median of at least so many."""


@dataclass(frozen=True)
class Cost:
    """What one length costs.

    Attributes:
        seconds: Median over repetitions.
        bytes: In training what is kept for the backward pass, weights included; in dreaming what is kept from frame to
            frame.
        peak_bytes: The most that torch had allocated on the GPU, weights included; None on a processor.
    """

    seconds: float
    bytes: int
    peak_bytes: int | None


def training_cost(model: LSSVWM, frames: int, seconds: float, generator: torch.Generator) -> Cost:
    """Measure one iteration, forward and backward without an optimizer, on one sequence.

    All rows learn from clean latents, so that all iterations are alike. Models that look back only are trained on clean
    pasts (two streams), those that see later frames by diffusion forcing (one stream) on the sequence cut into windows
    as long as they see, rounded up to a whole one.

    Args:
        model: What is trained; its gradients are gone afterwards.
        frames: Of the sequence.
        seconds: To repeat for.
        generator: Consumed for latents, actions and noise; of the model's device.
    """
    mode: Mode = "clean_past" if model.config.steppable else "diffusion_forcing"
    config = DiffusionConfig(mode=mode, shortcut_fraction=0.0)
    latents, actions = random_frames(model, frames, generator)
    if not model.config.steppable:
        window = min(frames, model.config.attention_window)
        whole = [random_frames(model, window, generator) for _ in range(-(-frames // window))]
        latents, actions = (torch.cat(parts) for parts in zip(*whole, strict=True))

    def forward() -> Tensor:
        model.zero_grad()
        return denoising_loss(model, latents, actions, config, generator)[0]

    kept: dict[int, int] = {}  # bytes of each storage, by its address

    def note(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        loss = forward()
    loss.backward()
    del loss
    median, peak = _time(lambda: forward().backward(), seconds, latents.device, warm=True)
    model.zero_grad()
    return Cost(median, sum(kept.values()), peak)


@torch.inference_mode()
def dreaming_cost(model: LSSVWM, memory: Memory, seconds: float, generator: torch.Generator) -> Cost:
    """Measure one dreamed frame in one denoising step, the pass that takes it in included.

    Args:
        model: What dreams; it looks back only.
        memory: Of one dream.
        seconds: To repeat for.
        generator: Consumed for the action and the noise; of the model's device.
    """
    latents, actions = random_frames(model, 1, generator)
    median, peak = _time(lambda: model.imagine(memory, actions[:, 0], latents[:, 0], 1), seconds, latents.device)
    return Cost(median, memory.nbytes, peak)


@torch.inference_mode()
def sliding_cost(model: LSSVWM, context: int, seconds: float, generator: torch.Generator) -> Cost:
    """Measure one dreamed frame of a model that sees later frames: one pass over its window, which is full or shorter.

    Such a model keeps no memory. The bytes are those of the window's latents, the dreamed frame among them.

    Args:
        model: What dreams.
        context: Frames before the dreamed one; the window holds the last of them.
        seconds: To repeat for.
        generator: Consumed for latents and actions; of the model's device.
    """
    steps = model.config.max_denoising_steps
    latents, actions = random_frames(model, min(context + 1, model.config.attention_window), generator)
    levels, strides = filled(actions, steps), filled(actions, 0)
    levels[:, -1], strides[:, -1] = 0, steps.bit_length() - 1
    median, peak = _time(lambda: run_streams(model, None, latents, actions, levels, strides), seconds, latents.device)
    return Cost(median, latents.numel() * latents.element_size(), peak)


@torch.inference_mode()
def memory_after(model: LSSVWM, memory: Memory, frames: int, generator: torch.Generator) -> Memory:
    """Take random frames into memory until it has seen so many.

    What stays of constant size observes them, `CHUNK` frames at once. A ring that grows would make that quadratic work:
    it is filled with random keys and values in place of observed ones, which take the same bytes and the same time.

    Args:
        model: What observes; it looks back only.
        memory: Of one dream, which has seen fewer frames; it is not changed.
        frames: Seen in the end.
        generator: Consumed for latents and actions, or for keys and values; of the model's device.
    """
    if model.config.attention == "full":
        keys, values = (
            tuple(v.new_empty(1, frames, *v.shape[2:]).normal_(generator=generator) for v in layers)
            for layers in (memory.keys, memory.values)
        )
        return replace(memory, keys=keys, values=values, seen=torch.full_like(memory.seen, frames))
    while missing := frames - int(memory.seen):
        latents, actions = random_frames(model, min(CHUNK, missing), generator)
        _, memory = model.observe(memory, latents, actions)
    return memory


def random_frames(model: LSSVWM, frames: int, generator: torch.Generator) -> tuple[Latents, Actions]:
    """Draw latents and actions of one sequence; what they show does not change what they cost."""
    c, device = model.config, generator.device
    shape = (1, frames, c.latent_channels, c.latent_size, c.latent_size)
    latents = torch.randn(shape, generator=generator, device=device)
    return latents, random_actions(c, 1, frames, generator)


def growth_exponent(lengths: Sequence[int], values: Sequence[int | float]) -> float | None:
    """Fit `value = constant * length ** exponent` to the two longest lengths: 0 is constant, 1 linear, 2 quadratic.

    Args:
        lengths: All different, in any order.
        values: Positive, one a length.

    Returns:
        The exponent, or None if there are less than two lengths.
    """
    if len(lengths) < 2:
        return None
    (short, before), (long, after) = sorted(zip(lengths, values, strict=True))[-2:]
    return math.log(after / before) / math.log(long / short)


def _time(
    run: Callable[[], object], seconds: float, device: torch.device, warm: bool = False
) -> tuple[float, int | None]:
    """Median seconds of repetitions and their peak of GPU memory; unless all is `warm`, one more goes before them."""
    cuda = device.type == "cuda"
    if not warm:
        run()
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    durations: list[float] = []
    started = time.perf_counter()
    while len(durations) < REPETITIONS or time.perf_counter() < started + seconds:
        if cuda:
            torch.cuda.synchronize(device)
        before = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize(device)
        durations.append(time.perf_counter() - before)
    return statistics.median(durations), torch.cuda.max_memory_allocated(device) if cuda else None
