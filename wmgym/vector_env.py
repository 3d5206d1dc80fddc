"""Many dreams in lock step, as a Gymnasium vector environment: seeds, ends, autoreset, clone, restore."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from wmgym.arrays import as_integer, read_integer
from wmgym.checkpoint import Checkpoint, open_checkpoint
from wmgym.chosen_actions import count_context, counted_from_zero
from wmgym.context import read_contexts
from wmgym.dream import DEFAULT_DENOISING_STEPS, Bools, Dreams
from wmgym.dream_state import DreamState, Indices, as_rows, check_each_fits
from wmgym.observations import observation_space
from wmgym.vector_inputs import read_actions, read_reset_mask, read_seeds
from wmgym.window import Window

RENDER_MODES = ["rgb_array", "human"]
RENDER_FPS = 4  # steps a second in Memory Maze


class DreamVectorEnv(VectorEnv[NDArray[Any], NDArray[Any], NDArray[Any]]):
    """A batch of dreams of one world model, stepped together on its device.

    `gymnasium.make_vec("wmgym:LSSVWM-MemoryMaze-v0", num_envs=64)` makes one. What a dream is, what it shows
    and what `reset` takes stands in `wmgym.env.DreamEnv`; here `options["context"]` may also be a list with
    one entry a dream.

    Seeds follow Gymnasium: `reset(seed=s)` gives dream i the seed s + i, and that dream is the one that a
    `DreamEnv` dreams after `reset(seed=s + i)`, up to the rounding of a larger batch (measured with preset
    `micro`: 1.4e-6 in latents and features, one of 256 levels in pixels).

    An ended dream starts again from one of the checkpoint's `starts`, whatever the context before:

    * `AutoresetMode.SAME_STEP` (default): in the step in which it ends. The step returns the first
      observation of the new dream; the last one of the old is in `info["final_obs"]`.
    * `AutoresetMode.NEXT_STEP`: in the next step, whose action is ignored and whose reward is 0.
    * `AutoresetMode.DISABLED`: never; `reset(options={"reset_mask": mask})` starts the dreams with a True in
      the mask.

    Args:
        num_envs: How many dreams.
        checkpoint: Folder, Hugging Face Hub id, open checkpoint, or None for the one that ships with wmgym.
        observation: "pixels", "latent" or "features".
        denoising_steps: 1, 2, 4, ... up to the model's `max_denoising_steps`. 1 gives the mean of what could come
            next, in which long dreams fade; more draw from it and take longer.
        starts: "first_frames", or "clips": where a dream starts without a context; see `DreamEnv`.
        device: Where to dream, as torch names it.
        fast: Step by the model's fast path: the same dream to rounding; one alone takes half the time.
        precision: Of the fast path: "float32" or "bfloat16"; see `DreamEnv`.
        compile: Compile the fast path; the first step then takes about a minute.
        render_mode: None, "rgb_array", or "human" (a window with all dreams).
        max_episode_steps: Truncate a dream after so many steps; None or -1 for never.
        autoreset_mode: See above.
        disagreement_samples: 2 or more to tell `disagreement`: the next frame is drawn so many times more. With 2 a
            step takes about three times as long. 0: not at all.

    Raises:
        CheckpointError: The checkpoint is missing, damaged or of another version, or has no clips.
        DependencyError: The device needs CUDA, or "human" needs pygame.
        ValueError: Another argument is none of the above.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's own declaration)
        "render_modes": RENDER_MODES,
        "render_fps": RENDER_FPS,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    # So many arguments because gymnasium.make passes them by name.
    def __init__(
        self,
        num_envs: int = 1,
        *,
        checkpoint: str | Path | Checkpoint | None = None,
        observation: str = "pixels",
        denoising_steps: int = DEFAULT_DENOISING_STEPS,
        starts: str = "first_frames",
        device: str = "cpu",
        fast: bool = True,
        precision: str = "float32",
        compile: bool = False,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        disagreement_samples: int = 0,
    ) -> None:
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        num_envs = read_integer(num_envs, "num_envs", least=1)
        self.max_episode_steps = _read_limit(max_episode_steps)
        if render_mode not in (None, *RENDER_MODES):
            raise ValueError(f"render_mode = {render_mode!r}, expected None, 'rgb_array' or 'human'.")
        opened = open_checkpoint(checkpoint, device)
        world = opened.world
        self.num_envs, self.render_mode, self.observation = num_envs, render_mode, observation
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = observation_space(world.config, observation)
        self.single_action_space = opened.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._config = world.config
        self._dreams = Dreams(
            world, opened.starts(starts), num_envs, denoising_steps, fast, precision, compile, disagreement_samples
        )
        self._seeded = np.zeros(num_envs, np.bool_)
        self._window = Window(RENDER_FPS) if render_mode == "human" else None

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | np.integer[Any] | NDArray[np.integer[Any]] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start dreams.

        Args:
            seed: Dream i gets `seed + i`; or one seed a dream; None goes on with the generators there are.
            options: `"context"`: what to start from, see `DreamEnv`. `"reset_mask"`: `[num_envs]` bool, which
                dreams to start; the others go on.

        Returns:
            The observations of all dreams, and an empty dictionary.

        Raises:
            ContextError: A context does not fit. Nothing has changed then.
            ValueError: The mask or a seed does not fit. Nothing has changed then.
        """
        contexts = read_contexts(count_context(self.single_action_space, options), self.num_envs, self._config)
        rows = read_reset_mask(options, self.num_envs)
        seeds = read_seeds(seed, self.num_envs)
        super().reset(seed=as_integer(seed))
        with self._dreams.all_or_nothing():
            self._seed(rows, seeds)
            self._dreams.start(rows, None if contexts is None else [contexts[row] for row in rows])
            self._show()
            observations = self._dreams.observations(self.observation)
        self._seeded[rows] = True
        return observations, {}

    def step(self, actions: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Dream one more frame. A step that breaks off (out of memory, Ctrl-C) changes nothing and can be made again.

        Args:
            actions: One a dream, elements of `single_action_space`: `[num_envs]` integers, with one axis more for a
                `MultiDiscrete`; floats of a `Box`.

        Returns:
            Observations, rewards, terminations, truncations, and a dictionary that is empty, or has
            `final_obs` (and an empty `final_info`) where `SAME_STEP` started dreams again.

        Raises:
            InvalidActionError: An action is not in the action space. Nothing has advanced then.
            ResetNeeded: A dream was never started, or has ended and is not started again by itself.
        """
        actions = counted_from_zero(self.single_action_space, actions, (self.num_envs,))
        actions = read_actions(actions, self.num_envs, self._config.dynamics)
        self._check_running(self._dreams.over)
        with self._dreams.all_or_nothing():
            return self._step(actions)

    def _step(
        self, actions: NDArray[np.int64] | NDArray[np.float32]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Dream, end and start again, with checked actions; returns what `step` returns."""
        dreams = self._dreams
        waiting = dreams.over.copy()
        rewards, terminations = dreams.step(actions, idle=waiting)
        if waiting.any():
            dreams.start(np.flatnonzero(waiting).tolist())
            rewards[waiting], terminations[waiting] = 0.0, False
        limit = self.max_episode_steps
        truncations = np.zeros(self.num_envs, np.bool_) if limit is None else dreams.steps >= limit
        dreams.end(truncations)
        info: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and dreams.over.any():
            info = self._start_again(dreams.over.copy())
        self._show()
        return dreams.observations(self.observation), rewards, terminations, truncations, info

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Return the current frame of each dream; None if they are in a window, or without a render mode.

        Raises:
            ResetNeeded: Before the first `reset`.
        """
        if self.render_mode is None:
            return None
        if not self._dreams.started.any():
            raise ResetNeeded("Call reset() before render(): there is no frame yet.")
        if self.render_mode == "human":
            self._show()
            return None
        return tuple(self._dreams.frames())

    def close_extras(self, **kwargs: Any) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()

    @property
    def disagreement(self) -> NDArray[np.float32]:
        """How unsure the model was of the last step's frame, `[num_envs]`; 0 before the first, and for idle dreams.

        The root mean square, over the numbers of a latent, of the standard deviation over frames that are drawn from
        the same state and action by several noises, in units of latents, whose variance is about 1
        (`wmgym.disagreement`). It tells what the model finds open, not what it has wrong. Where a dream has ended in
        the last step and started again, it is that of its last frame. The dreams are the same with it and without.

        Raises:
            AttributeError: It is not measured.
        """
        measured = self._dreams.disagreement
        if measured is None:
            raise AttributeError("disagreement is not measured: make the dreams with disagreement_samples=2 or more")
        return measured.copy()

    @property
    def state_nbytes(self) -> int:
        """What `clone_state` costs for one dream, in bytes; the same at every step, unless attention is full."""
        return self._dreams.state_nbytes

    def clone_state(self, indices: Indices | None = None) -> DreamState:
        """Return dreams as a value: memory, frame, steps and random generator.

        Args:
            indices: Which dreams, as numbers or mask; None means all.

        Raises:
            IndexError: There is no such dream.
            ResetNeeded: One of them was never started.
        """
        rows = as_rows(indices, self.num_envs)
        if not self._dreams.started[rows].all():
            raise ResetNeeded("Call reset() before states are cloned: a dream that never started has none.")
        return self._dreams.clone(rows)

    def restore_state(self, state: DreamState, indices: Indices | None = None) -> None:
        """Put dreams back as they were when they were cloned.

        At the same batch size they continue bit-equal. A state of one dream goes into any number of places:
        branches that meet the same chance and differ by actions only.

        Args:
            state: From `clone_state` of any environment of the same checkpoint.
            indices: Where to, as numbers, each at most once, or as a mask; None means everywhere.

        Raises:
            IndexError: There is no such dream.
            ValueError: The numbers do not fit, or the state comes from another model, or is none.
        """
        with self._dreams.all_or_nothing():
            self._dreams.restore(state, indices)
        self._seeded |= self._dreams.started

    def clone_states(self, indices: Indices | None = None) -> list[DreamState]:
        """Return dreams as values, each of its own: `clone_state([i])` for each `i`, copied all at once.

        They share storage, which lasts as long as any of them does. To keep one for long, keep `state.select([0])`.

        Args:
            indices: Which dreams, as numbers or mask; None means all.

        Raises:
            IndexError: There is no such dream.
            ResetNeeded: One of them was never started.
        """
        return self.clone_state(indices).split()

    def restore_states(self, states: Any, indices: Indices | None = None) -> None:
        """Put dreams back as they were, each in a state of its own, copied all at once.

        While this runs it needs memory for two more copies of all states.

        Args:
            states: Of one dream each, as many as are meant by `indices`; the same may occur more than once.
            indices: Where to, as numbers, each at most once, or as a mask; None means everywhere.

        Raises:
            IndexError: There is no such dream.
            ValueError: The numbers do not fit, or a state comes from another model, is none, or of several dreams.
        """
        if isinstance(states, DreamState):
            raise ValueError(
                f"a state of {states.batch} dreams given, expected a list of states of one dream each. Fix: "
                "restore_state, or what clone_states returned."
            )
        rows = as_rows(indices, self.num_envs)
        if not isinstance(states, Iterable):
            raise ValueError(f"states = {states!r}, expected a list of states. Fix: pass what clone_states returned.")
        given = list(states)
        if len(given) != len(rows):
            raise ValueError(
                f"{len(given)} states given, expected {len(rows)}: one for each dream to put back. Likely cause: other "
                "indices than when they were cloned. Fix: pass the places that these states are for."
            )
        if given:
            check_each_fits(given, self._dreams.clone([0]), self._dreams.grows)
            self.restore_state(DreamState.joined(given, grows=self._dreams.grows), rows)

    def _seed(self, rows: Sequence[int], seeds: Sequence[int | None]) -> None:
        """Seed the dreams' generators; those that never were draw from `np_random` when no seed is given."""
        for row in rows:
            own = seeds[row]
            if own is not None or not self._seeded[row]:
                generator = self.np_random if own is None else seeding.np_random(own)[0]
                self._dreams.seed(row, int(generator.integers(2**63)))

    def _check_running(self, waiting: Bools) -> None:
        if not self._dreams.started.all():
            missing = np.flatnonzero(~self._dreams.started)
            raise ResetNeeded(f"Call reset() before step(): dreams {missing} were never started.")
        if self.autoreset_mode is AutoresetMode.DISABLED and waiting.any():
            raise ResetNeeded(
                f"Dreams {np.flatnonzero(waiting)} are over, and autoreset is disabled. Start all dreams by "
                "reset(), or these by reset(options={'reset_mask': mask})."
            )

    def _start_again(self, ended: Bools) -> dict[str, Any]:
        """Start ended dreams within the step; return their last observations as Gymnasium has them."""
        final = self._dreams.observations(self.observation)
        info: dict[str, Any] = {}
        for row in np.flatnonzero(ended):
            info = self._add_info(info, {"final_obs": final[row].copy(), "final_info": {}}, int(row))
        self._dreams.start(np.flatnonzero(ended).tolist())
        return info

    def _show(self) -> None:
        if self._window is not None:
            self._window.show(self._dreams.frames())


def _read_limit(max_episode_steps: Any) -> int | None:
    """Return the time limit, None for none.

    Raises:
        ValueError: It is no limit.
    """
    if max_episode_steps is None or as_integer(max_episode_steps) == -1:
        return None
    return read_integer(max_episode_steps, "max_episode_steps", least=1)
