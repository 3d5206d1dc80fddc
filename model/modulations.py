"""Modulations of the fast path: read from a table where actions can be counted, else worked out at each step.

Weights are copied; numbers are worked out in their precision and rounded to that of the path at the end.
"""

import copy
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.actions import filled
from model.axes import START_ACTION, Action
from model.backbone import Layer
from model.lssvwm import LSSVWM


@dataclass(frozen=True)
class Modulations:
    """Shifts, 1 + scales and gates under one noise level and stride; row `num_actions` is that of no action.

    Attributes:
        layers: `[actions layers 9 1 width]`.
        final: `[actions 2 1 width]`: shift and 1 + scale before the output.
    """

    layers: Float[Tensor, "actions layers 9 1 width"]
    final: Float[Tensor, "actions 2 1 width"]


@runtime_checkable
class Modulator(Protocol):
    """What the fast path asks."""

    def led(self, action: Action) -> Tensor:
        """What the passes of one step have in common: made once, handed to the others."""

    def layers(self, level: int, stride: int, led: Tensor) -> Float[Tensor, "b layers 9 1 width"]:
        """Those of the layers, for each dream."""

    def final(self, level: int, stride: int, led: Tensor) -> Float[Tensor, "b 2 1 width"]:
        """Those before the output, for each dream."""


class ModulationTables:
    """Modulations of discrete actions: few noise levels and actions occur, so all are worked out once."""

    def __init__(self, dynamics: LSSVWM, dtype: torch.dtype) -> None:
        self._num_actions = dynamics.config.num_actions
        passes = _passes(dynamics.config.max_denoising_steps)
        self.tables = {pair: _modulations(dynamics, *pair, dtype) for pair in passes}

    def led(self, action: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Rows of the tables."""
        return torch.where(action == START_ACTION, self._num_actions, action)

    def layers(self, level: int, stride: int, led: Tensor) -> Float[Tensor, "b layers 9 1 width"]:
        """As `Modulator` has it."""
        return self.tables[level, stride].layers[led]

    def final(self, level: int, stride: int, led: Tensor) -> Float[Tensor, "b 2 1 width"]:
        """As `Modulator` has it."""
        return self.tables[level, stride].final[led]


class FreshModulations:
    """Modulations of continuous actions, of which there is no end: one product of matrices for all layers."""

    def __init__(self, dynamics: LSSVWM, dtype: torch.dtype) -> None:
        self._condition, self._dtype = copy.deepcopy(dynamics.condition), dtype
        linears = [linear for layer in layers_of(dynamics) for linear in _linears_of(layer)]
        self._weight = torch.cat([linear.weight.detach() for linear in linears])
        self._bias = torch.cat([linear.bias.detach() for linear in linears])
        self._final = copy.deepcopy(dynamics.final_modulation)

    def led(self, action: Float[Tensor, "b a"]) -> Float[Tensor, "b width"]:
        """What actions add to the conditioning vector."""
        return self._condition.embedded(action[:, None])[:, 0]

    def layers(self, level: int, stride: int, led: Tensor) -> Float[Tensor, "b layers 9 1 width"]:
        """As `Modulator` has it."""
        made = nn.functional.linear(self._conditioning(level, stride, led), self._weight, self._bias)
        parts = made.unflatten(-1, (-1, 3, led.shape[-1]))  # shift, scale and gate of every branch
        parts[:, :, 1] += 1
        layers: Tensor = parts.unflatten(1, (-1, 3)).flatten(2, 3)[:, :, :, None].to(self._dtype)
        return layers

    def final(self, level: int, stride: int, led: Tensor) -> Float[Tensor, "b 2 1 width"]:
        """As `Modulator` has it."""
        return _parts(self._final(self._conditioning(level, stride, led)), 2)[:, :, None].to(self._dtype)

    def _conditioning(self, level: int, stride: int, led: Tensor) -> Float[Tensor, "b width"]:
        condition = self._condition
        return nn.functional.silu(led + condition.noise_level.weight[level] + condition.stride.weight[stride])


def make_modulator(dynamics: LSSVWM, dtype: torch.dtype) -> Modulator:
    """The one for the model's actions.

    Args:
        dynamics: moved by actions.
        dtype: of what is made.
    """
    return (FreshModulations if dynamics.config.action_size else ModulationTables)(dynamics, dtype)


def layers_of(dynamics: LSSVWM) -> list[Layer]:
    """The layers of a model that has a fast path."""
    return [layer for layer in dynamics.backbone.layers if isinstance(layer, Layer)]


def _linears_of(layer: Layer) -> list[nn.Linear]:
    return [v.linear for v in (layer.scan_modulation, layer.attention_modulation, layer.mlp_modulation)]


def _passes(max_steps: int) -> list[tuple[int, int]]:
    """Noise level and log2 of the stride of every pass that a sampler makes, and of the one that takes a frame in."""
    exponents = range(max_steps.bit_length())
    return [(level, e) for e in exponents for level in range(0, max_steps, 1 << e)] + [(max_steps, 0)]


@torch.no_grad()
def _modulations(dynamics: LSSVWM, level: int, stride: int, dtype: torch.dtype) -> Modulations:
    """Those of one noise level and stride, for every action."""
    actions = torch.arange(dynamics.config.num_actions + 1, device=dynamics.place.device)
    actions[-1] = START_ACTION
    levels, strides = (filled(actions[:, None], v)[:, None] for v in (level, stride))
    conditioning = dynamics.condition(actions[:, None], levels, strides)[:, 0, 0]
    rows = [torch.cat([_parts(v(conditioning), 3) for v in _linears_of(layer)], 1) for layer in layers_of(dynamics)]
    layers = torch.stack(rows, 1)[:, :, :, None].to(dtype)
    return Modulations(layers, _parts(dynamics.final_modulation(conditioning), 2)[:, :, None].to(dtype))


def _parts(v: Tensor, count: int) -> Tensor:
    """`[actions (count width)] -> [actions count width]`, 1 added to the second part, which is the scale."""
    parts: Tensor = v.unflatten(-1, (count, -1)).clone()
    parts[:, 1] += 1
    return parts
