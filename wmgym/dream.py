"""The engine: a batch of dreams stepped together. It knows frames and actions, not Gymnasium.

    context frames -> start -> Memory;  actions -> step -> rewards, ends;  observations on demand

Memory is replaced at each step, and nothing here grows with time, unless the model attends to all of it; clips that
dreams begin with are kept once they were seen, up to a bound.
"""

import copy
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from model.actions import no_actions
from model.checkpoint import tensors_digest
from model.memory import Memory
from model.sampler import check_denoising_steps, draw_noise
from model.world_model import WorldModel
from wmgym.checkpoint import refuse_unsteppable
from wmgym.codec import tensor_to_frames
from wmgym.context import Context
from wmgym.disagreement import Disagreement
from wmgym.dream_state import DreamState, Indices, as_rows, check_is_state
from wmgym.observing import take_in
from wmgym.start_memories import StartMemories
from wmgym.stepping import make_stepping

DEFAULT_DENOISING_STEPS = 1
"""Nearest to reality, best at telling rewards, and fastest (docs/results/denoising_steps)."""

if hasattr(os, "register_at_fork"):
    # OpenMP's threads do not survive a fork: a child that calls on them, as AsyncVectorEnv's would, waits for ever
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

Bools = NDArray[np.bool_]
Given = TypeVar("Given")


class Dreams:
    """A batch of dreams of one world model.

    Each dream has its own random generator, which lies on the CPU whatever the device: the same seed is the
    same dream alone or among many, and on any device, to rounding.

    Attributes:
        steps: `[n]`: steps of each dream since its start.
        started: `[n]`: whether it was ever started or restored.
        over: `[n]`: whether it has ended.
        disagreement: `[n]` of the last step, None where it is not measured; a start or a restored state leaves it.

    Args:
        world: The model; its device is where dreams happen.
        starts: what a dream starts from unless told otherwise: one of these, drawn by its generator.
        num_dreams: How many.
        denoising_steps: 1, 2, 4, ... up to the model's `max_denoising_steps`. 1 gives the mean of what could come
            next, in which long dreams fade; more draw from it and take longer.
        fast: Step by the fast path, if the model has one: the same, to rounding.
        precision: Of the fast path: "float32" or "bfloat16".
        compiled: Put the fast path through `torch.compile`.
        disagreement_samples: Draws by which to measure it, see `wmgym.disagreement`; 0 to leave that.

    Raises:
        ValueError: `disagreement_samples`, `denoising_steps` or `precision` is none of those.
        CheckpointError: The model is conditioned on poses, or its frames depend on later ones.
    """

    def __init__(
        self,
        world: WorldModel,
        starts: Sequence[Context],
        num_dreams: int,
        denoising_steps: int = DEFAULT_DENOISING_STEPS,
        fast: bool = True,
        precision: str = "float32",
        compiled: bool = False,
        disagreement_samples: int = 0,
    ) -> None:
        config = world.config.dynamics
        check_denoising_steps(denoising_steps, config.max_denoising_steps)
        refuse_unsteppable(world)
        self._world, self._denoising_steps = world, denoising_steps
        self._starts = StartMemories(world, starts)
        self._latent_shape = (config.latent_channels, config.latent_size, config.latent_size)
        self._generators = [torch.Generator() for _ in range(num_dreams)]
        self._stepping = make_stepping(world, fast, precision, compiled)
        self._memory = self._stepping.lay_out(world.dynamics.initial_memory(num_dreams))
        self._latent = torch.zeros(num_dreams, *self._latent_shape, device=world.device)
        self._features = torch.zeros(num_dreams, config.features, device=world.device)
        self._frames: NDArray[np.uint8] | None = None
        self._disagreement: Disagreement | None = None
        self.disagreement: NDArray[np.float32] | None = None
        if disagreement_samples:
            self._disagreement = Disagreement(
                disagreement_samples, self._latent_shape, world.device, denoising_steps, config.max_denoising_steps
            )
            self.disagreement = np.zeros(num_dreams, np.float32)
        self._undo: list[Callable[[], Any]] | None = None  # what was put in place of what, while it can be taken back
        self.steps = np.zeros(num_dreams, np.int64)
        self.started, self.over = np.zeros(num_dreams, np.bool_), np.zeros(num_dreams, np.bool_)

    @property
    def num_dreams(self) -> int:
        """How many dreams there are."""
        return len(self._generators)

    @cached_property
    def _digest(self) -> str:
        """Tells the weights; computed when a state is first cloned or restored, because most dreams never are."""
        return tensors_digest(self._world.state_dict())

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Put the dreams back as they were, generators included, if what is done inside raises, and raise it on."""
        before = copy.copy(self)  # what they remember outlives one step, and the rest is copied here
        counters = self.steps.copy(), self.started.copy(), self.over.copy()
        generators = [generator.get_state() for generator in self._generators]
        undo: list[Callable[[], Any]] = []
        self._undo = undo
        try:
            yield
        except BaseException:
            with torch.inference_mode():
                for put_back in reversed(undo):
                    put_back()
            vars(self).update(vars(before))
            self.steps, self.started, self.over = counters
            for generator, state in zip(self._generators, generators, strict=True):
                generator.set_state(state)
            raise
        finally:
            self._undo = None

    def seed(self, row: int, seed: int) -> None:
        """Seed the generator of one dream; its start and its whole course follow from it."""
        self._generators[row].manual_seed(seed)

    @torch.inference_mode()
    def start(self, rows: Sequence[int], contexts: Sequence[Context | None] | None = None) -> None:
        """Start dreams anew; the others are left as they are.

        Args:
            rows: Which dreams, ascending.
            contexts: What each of them goes on from, None to dream the first frame too. Without contexts
                each draws one of its own.

        Randomness: the generators of these dreams, except where a context is given.
        """
        if contexts is None:
            drawn = [self._draw_start(self._generators[row]) for row in rows]
            for members, numbers in _grouped(rows, drawn, self._starts.length):
                self._put(members, *self._starts.take(numbers))
        else:
            for members, given in _grouped(rows, contexts, lambda c: 0 if c is None else len(c.frames)):
                real = [context for context in given if context is not None]
                memory = self._world.dynamics.initial_memory(len(members))
                self._put(members, *(take_in(self._world, memory, real) if real else self._imagined_start(members)))
        self.steps[rows], self.started[rows], self.over[rows] = 0, True, False

    @torch.inference_mode()
    def step(self, actions: NDArray[Any], idle: Bools | None = None) -> tuple[NDArray[np.float64], Bools]:
        """Dream one more frame.

        Args:
            actions: `[n]` int64, or `[n a]` float32 if they are continuous: within range.
            idle: `[n]`: dreams that only fill the batch, so that its size, and with it rounding, stays the
                same. No noise is drawn for them, and they must be started next.

        Returns:
            `[n]` rewards and `[n]` whether the episode terminated, both of the frame just dreamed.

        Randomness: the generator of each dream that is not idle.
        """
        busy = [i for i in range(self.num_dreams) if idle is None or not idle[i]]
        noise = self._noise(busy)
        if len(busy) < self.num_dreams:
            everyone = torch.zeros(self.num_dreams, *self._latent_shape, device=noise.device)
            noise = everyone.index_copy(0, torch.tensor(busy, dtype=torch.int64, device=noise.device), noise)
        action = torch.from_numpy(actions).to(self._world.device)
        if self._disagreement is not None:  # before the step itself: what is written for a draw is overwritten by it
            apart = self._disagreement.measure(self._stepping, self._memory, action).cpu().numpy()
            self.disagreement = apart if idle is None else np.where(idle, np.float32(0), apart)
        imagined, memory = self._stepping.imagine(self._memory, action, noise, self._denoising_steps)
        self._show(memory, imagined.latent, imagined.features)
        self.steps += 1
        self.over = imagined.terminated.cpu().numpy().copy()
        return imagined.reward.double().cpu().numpy(), self.over.copy()

    @torch.inference_mode()
    def observe(self, contexts: Sequence[Context]) -> None:
        """Take in real frames on top of what the dreams remember.

        Args:
            contexts: One a dream, equally long.
        """
        self._show(*self._stepping.observe(self._memory, contexts))
        self.steps += len(contexts[0].frames)

    def end(self, ended: Bools) -> None:
        """Mark dreams as over, as a time limit does."""
        self.over |= ended

    def observations(self, kind: str) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Return `[n ...]` what the dreams show now; only `pixels` costs a decoding.

        Args:
            kind: As `wmgym.observations` names it.
        """
        if kind == "pixels":
            return self.frames()
        values = self._latent if kind == "latent" else self._features
        shown: NDArray[np.float32] = values.float().cpu().numpy().copy()
        return shown

    @torch.inference_mode()
    def frames(self) -> NDArray[np.uint8]:
        """Return `[n H W c]` the current frames, decoded at most once a step."""
        if self._frames is None:
            self._frames = tensor_to_frames(self._stepping.decode(self._latent))
        return self._frames.copy()

    @property
    def state_nbytes(self) -> int:
        """Bytes of the state of one dream."""
        return self.clone([0]).nbytes

    def clone(self, indices: Indices | None = None) -> DreamState:
        """Return a copy of dreams that later steps do not change.

        Args:
            indices: Which; None means all.

        Raises:
            IndexError: There is no such dream.
        """
        rows = as_rows(indices, self.num_dreams)
        there = rows.to(self._latent.device)
        return DreamState(
            memory=self._stepping.select(self._memory, there),
            latent=self._latent[there],
            features=self._features[there],
            steps=torch.from_numpy(self.steps)[rows],
            over=torch.from_numpy(self.over)[rows],
            generators=self._generator_states(rows.tolist()),
            digest=self._digest,
        )

    @property
    def grows(self) -> bool:
        """Whether the model's memory does, frame by frame."""
        return self._world.config.dynamics.attention == "full"

    @torch.inference_mode()
    def restore(self, state: DreamState, indices: Indices | None = None) -> None:
        """Put dreams back; the state stays as it is and can be restored again.

        Args:
            state: As many dreams as are meant by `indices`, or one for all of them.
            indices: Where to, each at most once; None means everywhere.

        Raises:
            IndexError: There is no such dream.
            ValueError: The numbers do not fit, or the state comes from another model, or is none.
        """
        check_is_state(state)
        rows = as_rows(indices, self.num_dreams).tolist()
        if len(set(rows)) < len(rows):
            raise ValueError(
                f"indices {rows} name a dream more than once, expected each at most once: only one state fits into a "
                "place. Fix: name each place once."
            )
        state.check_fits(len(rows), self.clone([0]), grows=self.grows)
        if state.batch != len(rows):
            state = state.select(np.zeros(len(rows), np.int64))
        device = self._world.device
        self._put(rows, state.memory.to(device), state.latent.to(device), state.features.to(device))
        self.steps[rows], self.over[rows], self.started[rows] = state.steps.numpy(), state.over.numpy(), True
        for row, generator in zip(rows, state.generators, strict=True):
            self._generators[row].set_state(generator.clone())  # torch reads a row of a stack from its start

    def _generator_states(self, rows: Sequence[int]) -> UInt8[Tensor, "i bytes"]:
        states = [self._generators[row].get_state() for row in rows]
        return torch.stack(states) if states else self._generators[0].get_state()[None, :][:0]

    def _noise(self, rows: Sequence[int]) -> Float[Tensor, "i d h w"]:
        """Draw for these dreams on the CPU, then move."""
        if not rows:
            return torch.zeros(0, *self._latent_shape, device=self._world.device)
        return draw_noise([self._generators[row] for row in rows], self._latent_shape).to(self._world.device)

    def _draw_start(self, generator: torch.Generator) -> int:
        return int(torch.randint(len(self._starts), (), generator=generator))

    def _imagined_start(self, rows: Sequence[int]) -> tuple[Memory, Tensor, Tensor]:
        """Dream first frames out of nothing."""
        dynamics = self._world.dynamics
        imagined, memory = dynamics.imagine(
            dynamics.initial_memory(len(rows)),
            no_actions(self._world.config.dynamics, len(rows), 1, self._world.device)[:, 0],
            self._noise(rows),
            self._denoising_steps,
        )
        return memory, imagined.latent, imagined.features

    def _put(self, rows: Sequence[int], memory: Memory, latent: Tensor, features: Tensor) -> None:
        """Make these the dreams in the given rows."""
        laid_out = self._stepping.lay_out(memory)
        if list(rows) == list(range(self.num_dreams)):
            self._show(laid_out, latent, features)
            return
        there = torch.tensor(list(rows), dtype=torch.int64, device=self._world.device)
        if self._undo is not None:
            before = self._stepping.rows(self._memory, there)
            self._undo.append(partial(self._stepping.put, self._memory, there, before))
        self._show(
            self._stepping.put(self._memory, there, laid_out),
            self._latent.index_copy(0, there, latent),
            self._features.index_copy(0, there, features),
        )

    def _show(self, memory: Any, latent: Tensor, features: Tensor) -> None:
        """Make these all dreams; the memory is one of the stepping's own."""
        self._frames = None
        self._memory, self._latent, self._features = memory, latent, features


def _grouped(
    rows: Sequence[int], values: Sequence[Given], key: Callable[[Given], int]
) -> list[tuple[list[int], list[Given]]]:
    """Return rows and values in groups of one key each."""
    groups: dict[int, tuple[list[int], list[Given]]] = defaultdict(lambda: ([], []))
    for row, value in zip(rows, values, strict=True):
        members, given = groups[key(value)]
        members.append(row)
        given.append(value)
    return list(groups.values())
