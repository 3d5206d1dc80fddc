"""The fast path: one frame of every dream, as `LSSVWM.imagine` and `LSSVWM.observe` have it, for models at rest.

The switch between the two is whether this class is used. Weights are copied in a precision of choice, modulations are
read from a table where actions can be counted (`model.modulations`), and memory is laid out for stepping
(`model.fast_memory`). `compiled` puts each layer, and both ends of the network (`model.frame_ends`), through
`torch.compile`.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor

from model.axes import Action, Latent
from model.config import LSSVWMConfig
from model.fast_memory import FastMemory
from model.frame_ends import FrameEnds
from model.frame_step import FrameStep
from model.local_attention import slopes_of
from model.lssvwm import Prediction
from model.memory import Memory
from model.modulations import layers_of, make_modulator
from model.sampler import sample
from model.world_model import WorldModel

MOST_SHAPES = 64
"""Batch sizes times block sizes that are compiled before giving up; torch's own limit of 8 is one batch size or two."""


def has_fast_path(config: LSSVWMConfig) -> bool:
    """Whether there is one for this model: LSSVWM itself, moved by actions."""
    return config.scan and config.attention == "window" and not config.pose_size


class FastPath:
    """Steps and decodes with a frozen copy of a world model."""

    def __init__(self, world: WorldModel, dtype: torch.dtype = torch.float32, compiled: bool = False) -> None:
        """Copies the weights.

        Args:
            world: a model for which `has_fast_path`; later changes of its weights are not seen here.
            dtype: of weights, activations, keys and values. Decays, scan states, sampler, features and heads stay in
                float32.
            compiled: put layers and ends through `torch.compile`; the first step of each batch size then takes long.
        """
        dynamics, config = world.dynamics, world.config.dynamics
        self.config, self.dtype = config, dtype
        self._heads = copy.deepcopy(dynamics.heads)
        self._modulator = make_modulator(dynamics, dtype)
        self._layers = [
            FrameStep(layer, config, config.block_size(i), dtype) for i, layer in enumerate(layers_of(dynamics))
        ]
        self._ends = FrameEnds(dynamics, dtype, MOST_SHAPES if compiled else None)
        self._decoder = copy.deepcopy(world.tokenizer.decoder).to(dtype)
        self._decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._scale = world.tokenizer.scale.detach().to(dtype, copy=True)
        self._slopes = slopes_of(config.attention_heads, config.attention_span).to(world.device)
        if compiled:
            for layer in self._layers:
                layer.compile(dynamic=False, fullgraph=True, recompile_limit=MOST_SHAPES)

    def lay_out(self, memory: Memory) -> FastMemory:
        """Copies a memory into the layout of this path."""
        return FastMemory.lay_out(memory, self.config, self.dtype)

    def imagine(
        self, memory: FastMemory, action: Action, noise: Latent, denoising_steps: int
    ) -> tuple[Prediction, FastMemory]:
        """As `LSSVWM.imagine`, but that actions are not checked.

        The memory given stays what it was until the one returned is stepped (`FastMemory`).
        """
        led = self._modulator.led(action)
        bias = self._bias(memory)
        latent = self._draw(memory, led, bias, noise, denoising_steps)
        features, memory = self._take_in(memory, latent, led, bias)
        reward, terminated = self._heads.decide(features)
        return Prediction(latent, features, reward, terminated), memory

    def draw(self, memory: FastMemory, action: Action, noise: Latent, denoising_steps: int) -> Latent:
        """The frame that `imagine` would imagine, without taking it in: the memory stays what it is."""
        return self._draw(memory, self._modulator.led(action), self._bias(memory), noise, denoising_steps)

    def _draw(self, memory: FastMemory, led: Tensor, bias: Tensor, noise: Latent, denoising_steps: int) -> Latent:
        """Walks from noise to the next frame."""

        def denoise(z: Latent, level: int, stride: int) -> Latent:
            tokens = self._run(z, self._modulator.layers(level, stride, led), memory, bias, remember=False)
            return self._ends.leave(tokens, self._modulator.final(level, stride, led))

        return sample(denoise, noise, denoising_steps, self.config.max_denoising_steps)

    def observe(self, memory: FastMemory, latent: Latent, action: Action) -> tuple[Float[Tensor, "b f"], FastMemory]:
        """As `LSSVWM.observe` for one frame a dream."""
        return self._take_in(memory, latent, self._modulator.led(action), self._bias(memory))

    def decode(self, latent: Latent) -> Float[Tensor, "b c H W"]:
        """As `Tokenizer.decode`."""
        bounded = (latent.to(self.dtype) * self._scale).clamp(-1, 1)
        frames: Tensor = self._decoder(bounded.contiguous(memory_format=torch.channels_last))
        return frames

    def _take_in(
        self, memory: FastMemory, latent: Latent, led: Tensor, bias: Tensor
    ) -> tuple[Float[Tensor, "b f"], FastMemory]:
        clean = self._modulator.layers(self.config.max_denoising_steps, 0, led)
        tokens = self._run(latent, clean, memory, bias, remember=True)
        return self._ends.see(tokens), memory.advanced()

    def _run(self, latent: Latent, modulation: Tensor, memory: FastMemory, bias: Tensor, remember: bool) -> Tensor:
        """Tokens after the last layer."""
        tokens = self._ends.enter(latent)
        place = memory.next_place()
        for i, layer in enumerate(self._layers):
            tokens = layer(
                tokens, modulation[:, i], memory.scan[i], memory.spare[i], memory.keys[i], memory.values[i],
                bias, place, remember,
            )  # fmt: skip
        return tokens

    def _bias(self, memory: FastMemory) -> Float[Tensor, "b heads 1 keys"]:
        """What is added to attention scores: minus slope times age, minus infinity for places never filled."""
        ages = memory.ages()[:, None]
        bias = (-self._slopes[:, None] * ages).masked_fill(ages > memory.seen[:, None, None], -torch.inf)
        return bias.repeat_interleave(self.config.tokens, -1)[:, :, None]
