"""Memory: everything that persists between frames, as one immutable value of constant size. No maths."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_BY_LAYER = ("scan", "keys", "values")


@dataclass(frozen=True)
class Memory:
    """What a dream remembers: scan states and a ring of keys and values, nothing that grows with time.

    Attributes:
        scan: one tensor a layer, `[b blocks scan_heads p n]`: the state-space memory of each spatial block, float32.
        keys: one tensor a layer, `[b k q heads e]`: attention keys of the last `k` frames, oldest first.
        values: one tensor a layer, `[b k q heads e]`: attention values of the same frames.
        filled: `[b]`: how many of the `k` frames hold something, at most `k`.
    """

    scan: tuple[Float[Tensor, "b _blocks scan_heads p n"], ...]
    keys: tuple[Float[Tensor, "b k q heads e"], ...]
    values: tuple[Float[Tensor, "b k q heads e"], ...]
    filled: Int[Tensor, " b"]

    @property
    def batch(self) -> int:
        """How many dreams this memory holds."""
        return self.filled.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together; the same at frame 10 and at frame 10,000."""
        return sum(v.numel() * v.element_size() for v in self.to_dict().values())

    def select(self, indices: Int[Tensor, " i"]) -> "Memory":
        """The memories of the given dreams, in the given order, copied."""
        return self._map(lambda v: v[indices])

    def repeat(self, times: int) -> "Memory":
        """Each dream's memory `times` times in a row: dream i becomes rows `i * times` to `(i + 1) * times - 1`."""
        return self._map(lambda v: v.repeat_interleave(times, dim=0))

    def replace(self, indices: Int[Tensor, " i"], other: "Memory") -> "Memory":
        """A memory in which the given dreams are those of `other`; this one stays as it is."""
        theirs = other.to_dict()
        return Memory.from_dict({key: v.index_copy(0, indices, theirs[key]) for key, v in self.to_dict().items()})

    def clone(self) -> "Memory":
        """A copy that shares no storage."""
        return self._map(torch.clone)

    def to(self, device: torch.device | str) -> "Memory":
        """The same memory on another device."""
        return self._map(lambda v: v.to(device))

    def to_dict(self) -> dict[str, Tensor]:
        """Flat dictionary of the tensors themselves; `clone` first to have each in storage of its own."""
        layers = {f"{name}.{i}": v for name in _BY_LAYER for i, v in enumerate(getattr(self, name))}
        return layers | {"filled": self.filled}

    @classmethod
    def from_dict(cls, tensors: dict[str, Tensor]) -> "Memory":
        """Rebuilds a memory from `to_dict`'s output."""
        counts = {name: sum(key.startswith(f"{name}.") for key in tensors) for name in _BY_LAYER}
        layers = {name: tuple(tensors[f"{name}.{i}"] for i in range(count)) for name, count in counts.items()}
        return cls(**layers, filled=tensors["filled"])

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Memory":
        return Memory.from_dict({key: change(v) for key, v in self.to_dict().items()})
