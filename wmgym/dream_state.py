"""A dream as a value: everything its future depends on, to be kept, copied and restored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from model.memory import Memory
from wmgym.arrays import as_array, read_integer

Indices = Sequence[int] | NDArray[Any] | Tensor
"""Which dreams: numbers, or a mask of booleans."""


def as_rows(indices: Indices | None, count: int) -> Int[Tensor, " i"]:
    """Return the numbers of the dreams meant.

    Args:
        indices: None means all.
        count: How many dreams there are.

    Raises:
        IndexError: There is no such dream.
    """
    given = np.arange(count) if indices is None else as_array(indices, "indices", IndexError)
    if given.dtype == np.bool_ and given.shape == (count,):
        given = np.flatnonzero(given)
    fits = given.ndim == 1 and (given.dtype.kind in "iu" or not given.size)
    if not fits or (given.size and (given.min() < 0 or given.max() >= count)):
        raise IndexError(
            f"indices {indices!r} name no dreams: expected a list of numbers from 0 to {count - 1}, or a "
            f"mask of {count} booleans."
        )
    return torch.from_numpy(given.astype(np.int64))


@dataclass(frozen=True, eq=False)
class DreamState:
    """Some dreams, frozen: made by `clone_state`, put back by `restore_state`. Treat it as opaque.

    It never changes, whatever the dreams do later, and it fits any environment of the same checkpoint: a
    restored dream continues bit-equal in a batch of the same size, and to rounding in another (under full
    attention, whose memory grows, to rounding wherever neighbours are of another age). The random generator
    is part of it, so two copies meet the same chance under the same actions.

    Attributes:
        memory: What the dreams remember.
        latent: `[b d h w]`: their current frames.
        features: `[b f]`: their current features.
        steps: `[b]`: steps since the start.
        over: `[b]`: whether they have ended and wait for a start.
        generators: `[b bytes]`: states of their random generators.
        digest: tells the weights of the model that dreamed them from all others.
    """

    memory: Memory
    latent: Float[Tensor, "b d h w"]
    features: Float[Tensor, "b f"]
    steps: Int[Tensor, " b"]
    over: Bool[Tensor, " b"]
    generators: UInt8[Tensor, "b bytes"]
    digest: str

    @property
    def batch(self) -> int:
        """How many dreams there are."""
        return self.steps.shape[0]

    def __repr__(self) -> str:
        """Tell how many dreams, how old and how large; not what they remember."""
        return f"DreamState({self.batch} dreams after {self.steps.tolist()} steps, {self.nbytes / 1e6:.1f} MB)"

    @property
    def nbytes(self) -> int:
        """Bytes of all dreams together; the same after 10 steps and after 10,000, unless attention is full."""
        return self.memory.nbytes + sum(v.nbytes for v in self._tensors().values())

    def select(self, indices: Indices) -> "DreamState":
        """Return the given dreams, in the given order, copied.

        Args:
            indices: Numbers, which may occur more than once, or a mask.

        Raises:
            IndexError: There is no such dream.
        """
        rows = as_rows(indices, self.batch)
        return self._changed(self.memory.select(rows.to(self.latent.device)), lambda v: v[rows.to(v.device)])

    def repeat(self, times: int) -> "DreamState":
        """Return each dream `times` times in a row: branches that share their past.

        Args:
            times: At least 1.

        Raises:
            ValueError: `times` is no whole number, or less than 1.
        """
        times = read_integer(times, "times", least=1)
        return self._changed(self.memory.repeat(times), lambda v: v.repeat_interleave(times, dim=0))

    @classmethod
    def joined(cls, states: Sequence["DreamState"], grows: bool = False) -> "DreamState":
        """Return the dreams of several states as one, copied to where the first of them is, in the given order.

        Args:
            states: At least one; the same may occur more than once.
            grows: Whether the model's memory does, as full attention's; states may then be of any age.

        Raises:
            ValueError: There is none, one is no state, or they come from different models.
        """
        if isinstance(states, DreamState) or not states:
            raise ValueError(f"{states!r} given, expected a list of one or more states.")
        for state in {id(state): state for state in states}.values():
            check_is_state(state)
            state.check_same_model(states[0], grows)
        device = states[0].latent.device
        each = [state._tensors() for state in states]
        tensors = {key: torch.cat([v[key].to(first.device) for v in each]) for key, first in each[0].items()}
        memory = Memory.joined([state.memory.to(device) for state in states])
        return cls(memory, digest=states[0].digest, **tensors)

    def split(self) -> list["DreamState"]:
        """Return each dream as a state of its own.

        All share this one's storage, which lasts as long as any of them does. Copies and pickles hold one dream alone.
        """
        rows = {key: v.split(1) for key, v in self._tensors().items()}
        return [
            DreamState(memory, digest=self.digest, **{key: v[row] for key, v in rows.items()})
            for row, memory in enumerate(self.memory.split())
        ]

    def shapes(self, grows: bool = False) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor of one dream; equal for states of the same checkpoint.

        Args:
            grows: Whether the model's memory does, as full attention's; what differs with age is then left out.
        """
        return {key: tuple(v.shape[1:]) for key, v in self._tensors().items()} | self.memory.shapes(grows)

    def check_fits(self, places: int, example: "DreamState", grows: bool = False) -> None:
        """Refuse to be restored where it does not fit.

        Args:
            places: How many dreams shall be overwritten.
            example: A state made there.
            grows: Whether the model's memory does.

        Raises:
            ValueError: This holds neither one dream nor as many as there are places, or is of another model.
        """
        if self.batch not in (1, places):
            room, wanted = ("1 place", "1") if places == 1 else (f"{places} places", f"1 or {places}")
            raise ValueError(
                f"A state of {self.batch} dreams cannot be restored into {room}; expected a state of {wanted}. "
                "Pass indices, or use state.select or state.repeat."
            )
        self.check_same_model(example, grows)

    def check_same_model(self, example: "DreamState", grows: bool = False) -> None:
        """Refuse to be put where states of another model are.

        Args:
            example: Such a state.
            grows: Whether the model's memory does; the lengths of rings are then not compared.

        Raises:
            ValueError: This is of another model.
        """
        given, expected = self.shapes(grows), example.shapes(grows)
        if expected != given:
            wrong = next(key for key in expected | given if expected.get(key) != given.get(key))
            raise ValueError(
                f"The state is of another model: '{wrong}' of one dream has shape {given.get(wrong)}, here "
                f"{expected.get(wrong)}. Restore it into an environment of the checkpoint it was cloned from."
            )
        if example.digest != self.digest:
            raise ValueError(
                f"The state is of another model: its weights have the digest {self.digest[:16]}, those here "
                f"{example.digest[:16]}. Restore it into an environment of the checkpoint it was cloned from."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles hold these dreams alone, whatever else shares their storage."""
        return DreamState, (self.memory.clone(), *(v.clone() for v in self._tensors().values()), self.digest)

    def _tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("memory", "digest")}

    def _changed(self, memory: Memory, change: Callable[[Tensor], Tensor]) -> "DreamState":
        tensors = {key: change(v) for key, v in self._tensors().items()}
        return DreamState(memory, digest=self.digest, **tensors)


def check_is_state(given: Any) -> None:
    """Refuse what no state is.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(given, DreamState):
        raise ValueError(
            f"a state of type {type(given).__name__} given, expected a DreamState. Fix: pass what clone_state "
            "returned, or a list of states to restore_states."
        )


def check_each_fits(states: Sequence[Any], example: DreamState, grows: bool) -> None:
    """Refuse states of which not each would fit into one place.

    Args:
        states: Given to be restored; the same may occur more than once.
        example: A state made there.
        grows: Whether the model's memory does.

    Raises:
        ValueError: One is no state, of several dreams, or of another model.
    """
    for state in {id(state): state for state in states}.values():
        check_is_state(state)
        state.check_fits(1, example, grows)
