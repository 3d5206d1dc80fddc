"""What dreams remember right after their start: taken in once, and kept where all of it is small."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from model.axes import Latent
from model.memory import Memory
from model.world_model import WorldModel
from wmgym.context import Context
from wmgym.observing import take_in

KEPT_BYTES = 256 << 20
"""At most so much is kept by one environment, or nothing."""
TOGETHER = 8
"""Neighbours that are taken in at once, whichever of them is asked for: what a dream begins with, to the last bit,
depends on its start alone, and not on who else started or on what was kept."""


class StartMemories:
    """Memories of dreams that have seen their starts and nothing else.

    Agents learn in many short dreams from clips: without this, a quarter of their time went into looking at the same
    ones. Starts of a single frame are looked at anew, and so are all if their memories would be too large together.

    Args:
        world: The model. What is kept does not know of later changes of its weights.
        starts: What dreams start from.
    """

    def __init__(self, world: WorldModel, starts: Sequence[Context]) -> None:
        self._world, self._starts = world, starts
        kept = sum(len(start.frames) > 1 for start in starts)
        grows = world.config.dynamics.attention == "full"
        self._keeps = not grows and kept * world.dynamics.initial_memory(1).nbytes <= KEPT_BYTES
        self._kept: dict[int, tuple[Memory, Latent, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def length(self, number: int) -> int:
        """How many frames a start has."""
        return len(self._starts[number].frames)

    def take(self, numbers: Sequence[int]) -> tuple[Memory, Latent, Float[Tensor, "b f"]]:
        """Return memory, last latent and last features of dreams that begin, copied.

        Args:
            numbers: Of the starts, equally long, in any order, each as often as it is wanted.
        """
        if not self._keeps or self.length(numbers[0]) == 1:
            memory = self._world.dynamics.initial_memory(len(numbers))
            return take_in(self._world, memory, [self._starts[number] for number in numbers])
        found = [self._one(number) for number in numbers]
        memories, latents, features = zip(*found, strict=True)
        return Memory.joined(memories), torch.cat(latents), torch.cat(features)

    def _one(self, number: int) -> tuple[Memory, Latent, Tensor]:
        if number not in self._kept:
            first = number - number % TOGETHER
            near = range(first, min(first + TOGETHER, len(self._starts)))
            self._keep([other for other in near if self.length(other) == self.length(number)])
        return self._kept[number]

    def _keep(self, numbers: Sequence[int]) -> None:
        """Take in some starts of one length together."""
        contexts = [self._starts[number] for number in numbers]
        memory, latents, features = take_in(self._world, self._world.dynamics.initial_memory(len(contexts)), contexts)
        for i, number in enumerate(numbers):
            row = torch.tensor([i], device=latents.device)
            self._kept[number] = memory.select(row), latents[row], features[row]
