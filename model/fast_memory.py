"""Memory laid out for stepping: nothing is copied that a step does not change."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.config import LSSVWMConfig
from model.memory import Memory


@dataclass(frozen=True)
class FastMemory:
    """The same as `Memory`, in a ring of one place more than the window, and with room for the next scan states.

    A step writes only where this memory holds nothing: into `spare`, and into the place of the ring that has just left
    the window. So the memory before a step stays what it was until that of the step itself is stepped: one step can
    be taken back, not two. Whoever keeps a memory for longer takes a `Memory` (`select`).

    Frame number `i` of a dream has place `i % (k + 1)` of its ring, whatever its neighbours do: a dream put back
    elsewhere adds its numbers up in the same order, and goes on bit-equal.

    Attributes:
        scan: one tensor a layer, `[g p_all n]`: blocks folded into the batch, heads into channels.
        spare: of the same shapes: what the next step overwrites.
        keys: one tensor a layer, `[b heads places q e]`: `k + 1` places, each of one frame.
        values: likewise.
        seen: `[b]`: frames taken in.
    """

    scan: tuple[Float[Tensor, "_g p_all n"], ...]
    spare: tuple[Float[Tensor, "_g p_all n"], ...]
    keys: tuple[Float[Tensor, "b heads places q e"], ...]
    values: tuple[Float[Tensor, "b heads places q e"], ...]
    seen: Int[Tensor, " b"]

    @classmethod
    def lay_out(cls, memory: Memory, config: LSSVWMConfig, dtype: torch.dtype) -> "FastMemory":
        """Copies a memory into this layout.

        Args:
            memory: of a model with a scan and attention to a window.
            config: of that model.
            dtype: of keys and values; scan states stay in float32, or what decays slowly would drift.
        """
        scan = tuple(v.clone().flatten(0, 1).flatten(1, 2) for v in memory.scan)
        keys, values = (
            tuple(_to_ring(v.to(dtype), memory.seen) for v in layers) for layers in (memory.keys, memory.values)
        )
        return cls(scan, tuple(map(torch.empty_like, scan)), keys, values, memory.seen.clone())

    @property
    def batch(self) -> int:
        """How many dreams this memory holds."""
        return self.seen.shape[0]

    @property
    def places(self) -> int:
        """How many frames the ring has room for: one more than the window."""
        return self.keys[0].shape[2]

    def advanced(self) -> "FastMemory":
        """The memory after a step that wrote into this one."""
        return replace(self, scan=self.spare, spare=self.scan, seen=self.seen + 1)

    def select(self, rows: Tensor, config: LSSVWMConfig) -> Memory:
        """The memories of the given dreams, in the given order, as a value."""
        heads, p = config.scan_heads, config.scan_head_channels
        scan = tuple(self._by_dream(v)[rows].unflatten(2, (heads, p)).float() for v in self.scan)
        seen = self.seen[rows]
        keys, values = (tuple(_in_order(v[rows], seen) for v in layers) for layers in (self.keys, self.values))
        return Memory(scan, keys, values, (), seen)

    def rows(self, rows: Tensor) -> "FastMemory":
        """The memories of the given dreams in this layout, copied, to be put back by `overwrite`."""
        return FastMemory(
            scan=tuple(self._by_dream(v)[rows].flatten(0, 1) for v in self.scan),
            spare=(),
            keys=tuple(v[rows] for v in self.keys),
            values=tuple(v[rows] for v in self.values),
            seen=self.seen[rows],
        )

    def overwrite(self, rows: Tensor, other: "FastMemory") -> None:
        """Makes the given dreams those of `other`, in place: also in what this memory shares with the one before."""
        for ours, theirs in zip(self.scan, other.scan, strict=True):
            blocks = self._by_dream(ours)
            blocks.index_copy_(0, rows, theirs.view(len(rows), *blocks.shape[1:]))
        for ours, theirs in zip(self.keys + self.values, other.keys + other.values, strict=True):
            ours.index_copy_(0, rows, theirs)
        self.seen.index_copy_(0, rows, other.seen)

    def next_place(self) -> Int[Tensor, " b"]:
        """Where in its ring each dream's next frame goes."""
        return self.seen % self.places

    def ages(self) -> Int[Tensor, "b places"]:
        """How many frames before the next one the frame in each place is; 0 for the place of the next one itself."""
        return (self.seen[:, None] - torch.arange(self.places, device=self.seen.device)) % self.places

    def _by_dream(self, v: Float[Tensor, "_g p_all n"]) -> Float[Tensor, "b _blocks p_all n"]:
        blocks: Tensor = v.unflatten(0, (self.batch, len(v) // max(1, self.batch)))
        return blocks


def _order(seen: Tensor, places: int) -> Int[Tensor, "b k"]:
    """The places of the frames of the window, oldest first."""
    return (seen[:, None] + torch.arange(1, places, device=seen.device)) % places


def _to_ring(v: Tensor, seen: Tensor) -> Tensor:
    """`[b k q heads e]`, oldest first, to a ring; the place of the next frame is empty."""
    b, k, q, heads, e = v.shape
    ring = v.new_zeros(b, k + 1, heads, q, e)
    ring[torch.arange(b, device=v.device)[:, None], _order(seen, k + 1)] = v.transpose(2, 3)
    return ring.transpose(1, 2).contiguous()


def _in_order(ring: Tensor, seen: Tensor) -> Tensor:
    """A ring to `[b k q heads e]`, oldest first."""
    b, _, places = ring.shape[:3]
    by_frame = ring.transpose(1, 2)[torch.arange(b, device=ring.device)[:, None], _order(seen, places)]
    return by_frame.transpose(2, 3).float().contiguous()
