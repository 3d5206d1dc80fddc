"""Where dreams would go on from, beside environments that are only seen: how a planner knows what is real.

frames, actions that led to them -> observe -> one Memory an environment -> states -> restore_state of dreams
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Space
from numpy.typing import NDArray

from wmgym.arrays import as_array
from wmgym.checkpoint import Checkpoint, open_checkpoint
from wmgym.chosen_actions import counted_from_zero
from wmgym.context import Context, first_frame
from wmgym.dream import Bools, Dreams
from wmgym.dream_state import DreamState
from wmgym.errors import ContextError
from wmgym.observations import check_observation
from wmgym.vector_inputs import read_actions

Show = Callable[[Any, Any, bool], NDArray[Any]]
"""`show(frame, action, is_first)`: what is shown of the newest frame of one environment, to which the action led."""


class FollowedDreams:
    """Remembers what each of some environments has shown, and gives it as states from which dreams go on.

    One model observes the frames of all environments in one batch, as `wmgym.wrappers.WorldModelObservation` does those
    of one. A state is that of a dream which has just been reset with all frames of the episode as its context, so a
    planning `DreamVectorEnv` of the same checkpoint can restore it. Nothing is imagined here.

    Args:
        num_envs: How many environments.
        checkpoint: Folder, Hugging Face Hub id, open checkpoint, or None for the one that ships with wmgym.
        device: Where the model runs, as torch names it.
        precision: "float32" or "bfloat16", as that of the dreams.
        seed: Fixes the generators in the states; environment `i` has its own stream.

    Raises:
        CheckpointError: The checkpoint is missing, damaged or of another version.
        DependencyError: The device needs CUDA.
        ValueError: `precision` is none of the two.

    Randomness: with every observation, the next states get new generators, so that no two plans meet the same chance.
    """

    def __init__(
        self,
        num_envs: int,
        checkpoint: str | Path | Checkpoint | None = None,
        *,
        device: str = "cpu",
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
        opened = open_checkpoint(checkpoint, device)
        world, self._space = opened.world, opened.action_space
        size = world.config.tokenizer.frame_size
        self._config = world.config.dynamics
        self._shape = (num_envs, size, size, 3)
        self._dreams = Dreams(world, [], num_envs, precision=precision)
        self._rngs = [np.random.default_rng([seed, row]) for row in range(num_envs)]

    def observe(self, frames: Any, actions: Any, is_first: Bools) -> None:
        """Take in the newest frame of every environment.

        Args:
            frames: `[n H W c]` uint8, 0 to 255.
            actions: `[n]`, or with the axes of one action more: what led to them, elements of the action space of the
                world that the checkpoint was recorded from; those of first frames are ignored, whatever they are.
            is_first: `[n]`: whose episode begins with this frame: its memory is emptied before.

        Raises:
            ContextError: Frames or `is_first` do not fit. Nothing has changed then.
            InvalidActionError: An action does not. Nothing has changed then.
            ResetNeeded: An environment has shown no first frame yet. Nothing has changed then.
        """
        frames, is_first = self._read(frames, is_first)
        if (missing := np.flatnonzero(~self._dreams.started & ~is_first)).size:
            raise ResetNeeded(f"environments {missing} have shown no first frame, expected is_first = True there.")
        if not is_first.all():
            led = self._read_actions(actions, is_first)
            self._dreams.observe([Context(f[None], a[None]) for f, a in zip(frames, led, strict=True)])
        if is_first.any():
            rows = np.flatnonzero(is_first).tolist()
            self._dreams.start(rows, [first_frame(frames[row], self._config) for row in rows])
        self._dreams.steps[:] = 0  # of a dream that goes on from here
        for row, rng in enumerate(self._rngs):
            self._dreams.seed(row, int(rng.integers(2**63)))

    def states(self) -> list[DreamState]:
        """Return where each environment stands, a state of one dream each; the same until the next observation.

        Raises:
            ResetNeeded: Nothing was observed yet.
        """
        if not self._dreams.started.all():
            raise ResetNeeded("Call observe() before states(): nothing was seen yet.")
        return self._dreams.clone().split()

    def observations(self, kind: str) -> NDArray[Any]:
        """Return `[n ...]` what dreams that go on from here show of the newest frames.

        Latents and features are those of `wmgym.wrappers.WorldModelObservation`.

        Args:
            kind: "latent", "features", or "pixels", which are the frames as the model decodes its own latents of them.

        Raises:
            ResetNeeded: Nothing was observed yet.
            ValueError: `kind` is none of the three.
        """
        check_observation(kind)
        if not self._dreams.started.all():
            raise ResetNeeded("Call observe() before observations(): nothing was seen yet.")
        return self._dreams.observations(kind)

    def _read_actions(self, actions: Any, is_first: Bools) -> NDArray[Any]:
        """Return what led to the frames, as the model takes it: to first ones, what led to one that is none."""
        given = as_array(actions, "actions", ContextError)
        if given.shape[:1] == is_first.shape:
            given = given.copy()
            given[is_first] = given[~is_first][0]
        return read_actions(counted_from_zero(self._space, given, is_first.shape), len(is_first), self._config)

    def _read(self, frames: Any, is_first: Any) -> tuple[NDArray[np.uint8], Bools]:
        """Return frames and mask, checked."""
        frames, is_first = as_array(frames, "frames", ContextError), as_array(is_first, "is_first", ContextError)
        if frames.dtype != np.uint8 or frames.shape != self._shape:
            raise ContextError(
                f"frames are {frames.dtype} {frames.shape}, expected uint8 {self._shape}: one of each environment. "
                "Likely cause: environments that show latents or features. Fix: observation='pixels'."
            )
        if is_first.dtype != np.bool_ or is_first.shape != self._shape[:1]:
            raise ContextError(f"is_first is {is_first.dtype} {is_first.shape}, expected bool {self._shape[:1]}.")
        return frames, is_first


def follow_one(kind: str, checkpoint: str | Path | Checkpoint | None = None) -> Show:
    """Return what shows each frame of one environment as a dream shows its own, and remembers the frames before.

    Args:
        kind: "pixels", which are the frame itself, "latent" or "features".
        checkpoint: See `FollowedDreams`.

    Raises:
        ValueError: `kind` is none of the three.
    """
    check_observation(kind)
    if kind == "pixels":
        return lambda frame, led, begins: np.asarray(frame)
    followed = FollowedDreams(1, checkpoint)

    def show(frame: Any, led: Any, begins: bool) -> NDArray[Any]:
        followed.observe(np.asarray(frame)[None], np.array([0 if begins else led]), np.array([begins]))
        shown: NDArray[Any] = followed.observations(kind)[0]
        return shown

    return show


def refuse_other_spaces(checkpoint: Checkpoint, actions: Space[Any], frame_size: int) -> None:
    """Refuse to follow an environment of other actions or frames than those that the model was trained on.

    Args:
        checkpoint: Of the model.
        actions: Space of the environment's actions.
        frame_size: Pixels along each side of its frames.

    Raises:
        ValueError: They are others.
    """
    size, own = checkpoint.world.config.tokenizer.frame_size, checkpoint.action_space
    if not checkpoint.takes(actions) or frame_size != size:
        raise ValueError(
            f"an environment of {actions} and frames of {frame_size}x{frame_size} given, expected {own} and "
            f"{size}x{size}, as checkpoint '{checkpoint.name}' was trained on. Fix: the environment that it was "
            "recorded from, or a checkpoint of this one."
        )
