"""How dreams are stepped: by the model as it is trained, or by its fast path. Both do the same, to rounding.

A stepping knows its own kind of memory. `Dreams` only hands memories on.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from model.axes import Action, Latent
from model.fast_memory import FastMemory
from model.fast_path import FastPath, has_fast_path
from model.lssvwm import LSSVWM, Prediction
from model.memory import Memory
from model.world_model import WorldModel
from wmgym.codec import frames_to_tensor
from wmgym.context import Context
from wmgym.observing import take_in

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@runtime_checkable
class Stepping(Protocol):
    """What `Dreams` needs. A memory is only valid until its successor is stepped; `select` gives one that lasts."""

    def lay_out(self, memory: Memory) -> Any:
        """The memory as this stepping keeps it."""

    def select(self, memory: Any, rows: Tensor) -> Memory:
        """The memories of some dreams, copied."""

    def rows(self, memory: Any, rows: Tensor) -> Any:
        """Some dreams as this stepping keeps them, copied: to be put back."""

    def put(self, memory: Any, rows: Tensor, other: Any) -> Any:
        """A memory in which some dreams are those of another; the memory given may change, too."""

    def imagine(self, memory: Any, action: Action, noise: Latent, denoising_steps: int) -> tuple[Prediction, Any]:
        """As `LSSVWM.imagine`."""

    def draw(self, memory: Any, action: Action, noise: Latent, denoising_steps: int) -> Latent:
        """The frame that `imagine` would imagine from this noise; the memory stays as it is."""

    def observe(self, memory: Any, contexts: Sequence[Context]) -> tuple[Any, Latent, Float[Tensor, "b f"]]:
        """As `wmgym.observing.take_in`."""

    def decode(self, latent: Latent) -> Float[Tensor, "b c H W"]:
        """As `Tokenizer.decode`."""


def make_stepping(world: WorldModel, fast: bool = True, precision: str = "float32", compiled: bool = False) -> Stepping:
    """Choose.

    Args:
        world: The model.
        fast: Use the fast path if the model has one.
        precision: Of the fast path: "float32" or "bfloat16".
        compiled: Put it through `torch.compile`.

    Raises:
        ValueError: The precision is none of the two, or one is asked for that needs a fast path where there is none.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision = {precision!r}, expected one of {', '.join(map(repr, PRECISIONS))}.")
    known = type(world.dynamics) is LSSVWM  # a class of somebody's own may do anything in `imagine`
    if fast and known and has_fast_path(world.config.dynamics):
        return FastStepping(world, PRECISIONS[precision], compiled)
    if precision != "float32" or compiled:
        why = "fast = False was given" if not fast else "this model's backbone has none"
        asked = "compile = True" if compiled else f"precision = {precision!r}"
        raise ValueError(f"{asked} given, which is of the fast path, but {why}. Leave it away.")
    return PlainStepping(world)


class PlainStepping:
    """Steps the model as it is trained."""

    def __init__(self, world: WorldModel) -> None:
        self._world = world

    def lay_out(self, memory: Memory) -> Memory:
        """The same memory."""
        return memory

    def select(self, memory: Memory, rows: Tensor) -> Memory:
        """As `Stepping` has it."""
        return memory.select(rows)

    def rows(self, memory: Memory, rows: Tensor) -> Memory:
        """As `Stepping` has it."""
        return memory.select(rows)

    def put(self, memory: Memory, rows: Tensor, other: Memory) -> Memory:
        """As `Stepping` has it."""
        return memory.replace(rows, other)

    def imagine(self, memory: Memory, action: Action, noise: Latent, denoising_steps: int) -> tuple[Prediction, Memory]:
        """As `Stepping` has it."""
        return self._world.dynamics.imagine(memory, action, noise, denoising_steps)

    def draw(self, memory: Memory, action: Action, noise: Latent, denoising_steps: int) -> Latent:
        """As `Stepping` has it."""
        return self._world.dynamics.imagine(memory, action, noise, denoising_steps)[0].latent

    def observe(self, memory: Memory, contexts: Sequence[Context]) -> tuple[Memory, Latent, Float[Tensor, "b f"]]:
        """As `Stepping` has it."""
        return take_in(self._world, memory, contexts)

    def decode(self, latent: Latent) -> Float[Tensor, "b c H W"]:
        """As `Stepping` has it."""
        return self._world.tokenizer.decode(latent)


class FastStepping:
    """Steps a copy of the model, laid out for speed (`model.fast_path`)."""

    def __init__(self, world: WorldModel, dtype: torch.dtype, compiled: bool) -> None:
        self._world, self._path = world, FastPath(world, dtype, compiled)

    def lay_out(self, memory: Memory) -> FastMemory:
        """As `Stepping` has it."""
        return self._path.lay_out(memory)

    def select(self, memory: FastMemory, rows: Tensor) -> Memory:
        """As `Stepping` has it."""
        return memory.select(rows, self._world.config.dynamics)

    def rows(self, memory: FastMemory, rows: Tensor) -> FastMemory:
        """As `Stepping` has it."""
        return memory.rows(rows)

    def put(self, memory: FastMemory, rows: Tensor, other: FastMemory) -> FastMemory:
        """As `Stepping` has it."""
        memory.overwrite(rows, other)
        return memory

    def imagine(
        self, memory: FastMemory, action: Action, noise: Latent, denoising_steps: int
    ) -> tuple[Prediction, FastMemory]:
        """As `Stepping` has it."""
        return self._path.imagine(memory, action, noise, denoising_steps)

    def draw(self, memory: FastMemory, action: Action, noise: Latent, denoising_steps: int) -> Latent:
        """As `Stepping` has it."""
        return self._path.draw(memory, action, noise, denoising_steps)

    def observe(
        self, memory: FastMemory, contexts: Sequence[Context]
    ) -> tuple[FastMemory, Latent, Float[Tensor, "b f"]]:
        """As `Stepping` has it; frame by frame, which is what real environments ask for."""
        features = latent = torch.empty(0)
        if len(contexts[0].frames) > 1:  # only one step can be taken back: keep what is given as it is
            everyone = torch.arange(memory.batch, device=self._world.device)
            memory = self.lay_out(self.select(memory, everyone))
        for t in range(len(contexts[0].frames)):
            frames = torch.stack([frames_to_tensor(context.frames[t], self._world.device) for context in contexts])
            actions = torch.from_numpy(np.stack([context.actions[t] for context in contexts])).to(self._world.device)
            latent = self._world.tokenizer.encode(frames)
            features, memory = self._path.observe(memory, latent, actions)
        return memory, latent, features

    def decode(self, latent: Latent) -> Float[Tensor, "b c H W"]:
        """As `Stepping` has it."""
        return self._path.decode(latent)
