"""How fast a dream step could be on this machine: what it must compute and move, at rates measured here and now."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from model.world_model import WorldModel

MATRIX = 1024
COPIED_BYTES = 1 << 28
"""Large enough that no cache holds it."""


@dataclass(frozen=True)
class Rates:
    """What the machine does at best, measured."""

    matmul: float
    """Floating-point operations a second of a large matrix product."""
    copy: float
    """Bytes a second that a large copy reads and writes, both counted."""


@dataclass(frozen=True)
class StepCost:
    """What one step of one dream takes at least, however it is programmed."""

    operations: int
    """Of matrix products, convolutions and attention: the denoising passes, the pass that takes the frame in, and
    decoding where pixels are shown."""
    bytes: int
    """Memory read in every pass, and the scan's part of it written once."""

    def floor(self, rates: Rates) -> float:
        """Return the seconds that the slower of the two takes, since at best they overlap."""
        return max(self.operations / rates.matmul, self.bytes / rates.copy)


def measure_rates(dtype: torch.dtype, device: torch.device | str = "cpu", seconds: float = 1.0) -> Rates:
    """Measure a large matrix product and a large copy.

    Args:
        dtype: Of the matrices.
        device: Where.
        seconds: To repeat each for; the fastest counts.

    Randomness: none that matters; entries are drawn from torch's default generator.
    """
    source = torch.zeros(COPIED_BYTES // 4, device=device)
    target = torch.empty_like(source)
    copy = 2 * COPIED_BYTES / _fastest(lambda: target.copy_(source), seconds, source.device)
    return Rates(measure_matmul(dtype, device, seconds), copy)


def measure_matmul(dtype: torch.dtype, device: torch.device | str = "cpu", seconds: float = 1.0) -> float:
    """Return the operations a second of a large matrix product; arguments and randomness as `measure_rates`."""
    first, second = (torch.randn(MATRIX, MATRIX, device=device).to(dtype) for _ in range(2))
    return 2 * MATRIX**3 / _fastest(lambda: first @ second, seconds, first.device)


@torch.inference_mode()
def step_cost(world: WorldModel, observation: str, denoising_steps: int, dtype: torch.dtype) -> StepCost:
    """Count what a step must do; the operations are those that torch counts while the plain path runs.

    Args:
        world: The model.
        observation: "pixels", "latent" or "features"; only pixels are decoded.
        denoising_steps: Of the sampler.
        dtype: Of keys and values; scan states are kept in float32.
    """
    world = copy.deepcopy(world).to("cpu")
    config = world.config.dynamics
    memory = world.dynamics.initial_memory(1)
    latent = torch.zeros(1, config.latent_channels, config.latent_size, config.latent_size)
    with counted_operations() as counter:
        world.dynamics.imagine(memory, torch.zeros(1, dtype=torch.int64), latent, denoising_steps)
        if observation == "pixels":
            world.tokenizer.decode(latent)
    scan = sum(v.nbytes for v in memory.scan)
    rings = sum(v.numel() * dtype.itemsize for v in memory.keys + memory.values)
    return StepCost(counter.get_total_flops(), (denoising_steps + 1) * (scan + rings) + scan)


def counted_operations() -> FlopCounterMode:
    """Return torch's counter of operations, with what it leaves out or gets wrong on the processor put right.

    That is fused attention, `baddbmm_`, and the gradient of a grouped convolution's weights, which torch 2.13 counts as
    if every channel met every other.
    """
    aten = torch.ops.aten
    fused: dict[Any, Any] = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_operations,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_operations,
        aten.baddbmm_: _added_product_operations,
        aten.convolution_backward: _convolution_backward_operations,
    }
    return FlopCounterMode(display=False, custom_mapping=fused)


def _attention_operations(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward_operations(_: Any, query: Any, key: Any, value: Any, *__: Any, **___: Any) -> int:
    """Four products in place of two: of queries, keys, weights and values. Scores worked out anew do not count."""
    return 2 * int(sdpa_flop_count(query, key, value))


def _added_product_operations(_: Any, first: Any, second: Any, **__: Any) -> int:
    batch, rows, inner = first
    return int(2 * batch * rows * inner * second[-1])


def _convolution_backward_operations(
    grad: Any, x: Any, weight: Any, _bias: Any, _stride: Any, _padding: Any, _dilation: Any, transposed: bool,
    _output_padding: Any, _groups: int, wanted: Sequence[bool], **_: Any,
) -> int:  # fmt: skip
    """As many as forward, for the gradient of what came in and for that of the weights, if they are wanted."""
    places = math.prod((x if transposed else grad)[2:])
    return int(sum(wanted[:2]) * 2 * x[0] * places * math.prod(weight))


def _fastest(run: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Seconds of the fastest repetition."""
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until or best == float("inf"):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        before = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - before)
    return best
