"""Memory: everything that persists between frames, as one immutable value. No maths."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_BY_LAYER = ("scan", "keys", "values", "gates")


@dataclass(frozen=True)
class Memory:
    """What a dream remembers: scan states and a ring of keys and values, nothing that grows with time.

    Only where attention is `full` the ring grows, a frame a frame: that is what LSSVWM is compared with.

    Attributes:
        scan: one tensor a layer, `[b blocks scan_heads p n]`: the recurrent memory, of each spatial block one, float32;
            none in layers that have no recurrence.
        keys: one tensor a layer, `[b k q heads e]`: attention keys of the last `k` frames, oldest first; none in layers
            without attention. Where there are sink frames they come before the others.
        values: one tensor a layer, `[b k q heads e]`: attention values of the same frames.
        gates: one tensor a layer, `[b k q heads 2]`, where attention is `hybrid`: how the same frames will be written
            into the recurrent memory when they leave the ring.
        seen: `[b]`: how many frames were taken in; the ring holds something in as many of its last places.
    """

    scan: tuple[Float[Tensor, "b _blocks scan_heads p n"], ...]
    keys: tuple[Float[Tensor, "b _k q heads e"], ...]
    values: tuple[Float[Tensor, "b _k q heads e"], ...]
    gates: tuple[Float[Tensor, "b _k q heads 2"], ...]
    seen: Int[Tensor, " b"]

    @property
    def batch(self) -> int:
        """How many dreams this memory holds."""
        return self.seen.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together; the same at frame 10 and at frame 10,000, unless attention is `full`."""
        return sum(v.numel() * v.element_size() for v in self.to_dict().values())

    def select(self, indices: Int[Tensor, " i"]) -> "Memory":
        """The memories of the given dreams, in the given order, copied."""
        return self._map(lambda v: v[indices])

    def repeat(self, times: int) -> "Memory":
        """Each dream's memory `times` times in a row: dream i becomes rows `i * times` to `(i + 1) * times - 1`."""
        return self._map(lambda v: v.repeat_interleave(times, dim=0))

    def replace(self, indices: Int[Tensor, " i"], other: "Memory") -> "Memory":
        """A memory in which the given dreams are those of `other`; this one stays as it is.

        Rings that grow are made equally long first, with empty places before the oldest frame.
        """
        pairs = zip(self.to_dict().items(), other.to_dict().values(), strict=True)
        levelled = {key: _equally_long(key, [ours, theirs]) for (key, ours), theirs in pairs}
        return Memory.from_dict({key: ours.index_copy(0, indices, theirs) for key, (ours, theirs) in levelled.items()})

    @classmethod
    def joined(cls, memories: Sequence["Memory"]) -> "Memory":
        """The dreams of several memories as one, copied.

        Rings that grow are made equally long first, with empty places before the oldest frame.
        """
        each = [memory.to_dict() for memory in memories]
        return cls.from_dict({key: torch.cat(_equally_long(key, [v[key] for v in each])) for key in each[0]})

    def split(self) -> list["Memory"]:
        """Each dream's memory; all share the storage of this one."""
        rows = {key: v.split(1) for key, v in self.to_dict().items()}
        return [Memory.from_dict({key: v[row] for key, v in rows.items()}) for row in range(self.batch)]

    def shapes(self, grows: bool = False) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of one dream, equal for dreams of one model.

        Args:
            grows: whether attention is `full`; the lengths of the rings, which then differ, are left out.
        """
        return {key: tuple(v.shape[2 if grows and _is_ring(key) else 1 :]) for key, v in self.to_dict().items()}

    def without_scan(self) -> "Memory":
        """The same memory with its recurrent part cleared: what attention alone remembers shows what the scan adds."""
        return dataclasses.replace(self, scan=tuple(torch.zeros_like(v) for v in self.scan))

    def clone(self) -> "Memory":
        """A copy that shares no storage."""
        return self._map(torch.clone)

    def detach(self) -> "Memory":
        """The same memory, cut off from how it came about: gradients end here."""
        return self._map(torch.Tensor.detach)

    def to(self, device: torch.device | str) -> "Memory":
        """The same memory on another device."""
        return self._map(lambda v: v.to(device))

    def to_dict(self) -> dict[str, Tensor]:
        """Flat dictionary of the tensors themselves; `clone` first to have each in storage of its own."""
        layers = {f"{name}.{i}": v for name in _BY_LAYER for i, v in enumerate(getattr(self, name))}
        return layers | {"seen": self.seen}

    @classmethod
    def from_dict(cls, tensors: dict[str, Tensor]) -> "Memory":
        """Rebuilds a memory from `to_dict`'s output."""
        counts = {name: sum(key.startswith(f"{name}.") for key in tensors) for name in _BY_LAYER}
        layers = {name: tuple(tensors[f"{name}.{i}"] for i in range(count)) for name, count in counts.items()}
        return cls(**layers, seen=tensors["seen"])

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Memory":
        return Memory.from_dict({key: change(v) for key, v in self.to_dict().items()})


def _is_ring(key: str) -> bool:
    return key.startswith(("keys.", "values.", "gates."))


def _equally_long(key: str, tensors: list[Tensor]) -> list[Tensor]:
    """The same with empty places before the oldest frames of shorter rings."""
    lengths = {v.shape[1] for v in tensors} if _is_ring(key) else set()
    if len(lengths) < 2:
        return tensors
    longest = max(lengths)
    return [torch.cat([v.new_zeros(len(v), longest - v.shape[1], *v.shape[2:]), v], 1) for v in tensors]
