"""One dream as a Gymnasium environment: the vector environment with one place, and no logic of its own."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from wmgym.checkpoint import Checkpoint
from wmgym.dream import DEFAULT_DENOISING_STEPS
from wmgym.dream_state import DreamState
from wmgym.vector_env import RENDER_FPS, RENDER_MODES, DreamVectorEnv
from wmgym.vector_inputs import read_seed


class DreamEnv(gymnasium.Env[NDArray[Any], Any]):
    """A world that a model dreams, as it learned it from recordings of a real one.

    ## Description
    Each step, a long-memory video world model (LSSVWM) imagines the frame, the reward and the end that an
    action leads to. Nothing real runs. The whole past lives in a memory of fixed size, so a step costs the
    same after ten frames and after ten thousand, and a dream can be cloned, restored and branched exactly.
    The checkpoint that ships with wmgym dreams Memory Maze 9x9: find the coloured targets of a maze, again
    and again, in the order that the border of the picture asks for. `wmgym/MemoryMaze-9x9-v0` is the real
    one.

    ## Action Space
    That of the world that was recorded; `Discrete(n)` where the checkpoint does not say which it was. Memory Maze has
    6: 0 nothing, 1 forward, 2 left, 3 right, 4 forward and left, 5 forward and right, held for one step (0.25 s). A
    model of continuous actions has a `Box`, with the bounds of the recorded environment in its own units. Actions
    beyond them are refused, not clipped: `gymnasium.wrappers.ClipAction` clips.

    ## Observation Space
    By the argument `observation`:

    * `"pixels"`: `Box(0, 255, (64, 64, 3), uint8)`, the frame. It shows the present only.
    * `"latent"`: `Box(-inf, inf, (d, h, w), float32)`, the frame as the model's tokenizer encodes it, about
      unit variance. No frame is decoded, so steps are faster.
    * `"features"`: `Box(-inf, inf, (f,), float32)`, the model's last layer, about unit variance. It carries
      what the model remembers, so that a policy without memory can act on the past.

    ## Rewards
    The likeliest of the rewards that occurred in the recordings, read from the imagined frame and its past: 0
    or +1 in Memory Maze, where +1 comes with the frame in which the border has changed colour.

    ## Starting State
    A real first frame out of the checkpoint's bank, drawn by the dream's generator. With `starts="clips"` it is
    a short stretch of a recorded episode, most often shortly before a reward: for training agents, not for
    measuring them. `reset(options={"context": ...})` starts elsewhere:

    * `{"frames": frames, "actions": actions}`: real frames, uint8 `(t, 64, 64, 3)`, and the actions, integers
      `(t,)` or floats `(t, n)`, that led to them; `actions[0]` is ignored. The dream goes on after the last
      frame, whose observation is returned.
    * `None`: the model dreams the first frame too.

    `reset(seed=s)` fixes all randomness: the same seed is the same dream, whatever the device, to rounding.
    `reset()` goes on with the same generator.

    ## Episode End
    1. Termination: when the model finds an end likelier than not. Memory Maze has none.
    2. Truncation: by `gymnasium.make`, after 1000 steps, or `max_episode_steps` if given there. Made
       directly, a `DreamEnv` goes on for ever. A restored state brings its own step count, but not that of
       Gymnasium's `TimeLimit`: planners use `DreamVectorEnv`, or `make(..., max_episode_steps=-1)`.

    ## Information
    Always empty.

    ## Arguments
    See below; `gymnasium.make("wmgym:LSSVWM-MemoryMaze-v0", observation="features")`.

    ## Version History
    * v0: first version.

    Args:
        checkpoint: Folder, Hugging Face Hub id, open checkpoint, or None for the one that ships with wmgym.
        observation: "pixels", "latent" or "features".
        denoising_steps: 1, 2, 4, ... up to the model's `max_denoising_steps`. 1 gives the mean of what could come
            next, in which long dreams fade; more draw from it and take longer.
        starts: "first_frames" or "clips": where a dream starts without a context.
        device: Where to dream, as torch names it.
        fast: Step by the model's fast path: the same dream to rounding; one alone takes half the time.
        precision: Of the fast path: "float32", or "bfloat16" where the processor or GPU multiplies it natively: faster
            in batches, and the dream is another in the second digit.
        compile: Compile the fast path, which takes a C++ compiler; the first step then takes about a minute.
        render_mode: None, "rgb_array", or "human" (a window; needs the extra `human`).

    Raises:
        CheckpointError: The checkpoint is missing, damaged or of another version, or has no clips.
        DependencyError: The device needs CUDA, or "human" needs pygame.
        ValueError: Another argument is none of the above.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's own declaration)
        "render_modes": RENDER_MODES,
        "render_fps": RENDER_FPS,
    }

    def __init__(
        self,
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
    ) -> None:
        self._dreams = DreamVectorEnv(
            num_envs=1,
            checkpoint=checkpoint,
            observation=observation,
            denoising_steps=denoising_steps,
            starts=starts,
            device=device,
            fast=fast,
            precision=precision,
            compile=compile,
            render_mode=render_mode,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        self.render_mode = render_mode
        self.observation_space = self._dreams.single_observation_space
        self.action_space = self._dreams.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start a dream.

        Args:
            seed: Fixes all randomness to come; None goes on with the generator there is.
            options: `"context"`: what to start from, see the class.

        Returns:
            The first observation, and an empty dictionary.

        Raises:
            ContextError: The context does not fit. Nothing has changed then.
            ValueError: The seed is neither None nor a whole number of at least 0. Nothing has changed then.
        """
        seed = read_seed(seed)
        if seed is None:
            self._dreams.np_random = self.np_random
        observations, _ = self._dreams.reset(seed=seed, options=options)
        super().reset(seed=seed)  # only now: the line above refuses what does not fit
        return observations[0], {}

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Dream one more frame.

        Args:
            action: An element of `action_space`.

        Returns:
            Observation, reward, terminated, truncated (always False), and an empty dictionary.

        Raises:
            InvalidActionError: The action is not in the action space. Nothing has advanced then.
            ResetNeeded: Before the first `reset`, or after a termination.
        """
        observations, rewards, terminations, _, _ = self._dreams.step([action])
        return observations[0], float(rewards[0]), bool(terminations[0]), False, {}

    def render(self) -> NDArray[np.uint8] | None:
        """Return the current frame, uint8 `(64, 64, 3)`; None if it is in a window, or without a render mode.

        Raises:
            ResetNeeded: Before the first `reset`.
        """
        frames = self._dreams.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Close the window, if there is one."""
        self._dreams.close()

    @property
    def state_nbytes(self) -> int:
        """What `clone_state` costs, in bytes; the same at every step, unless attention is full."""
        return self._dreams.state_nbytes

    def clone_state(self) -> DreamState:
        """Return the dream as a value: memory, frame, steps and random generator.

        Raises:
            ResetNeeded: Before the first `reset`.
        """
        return self._dreams.clone_state()

    def restore_state(self, state: DreamState) -> None:
        """Put the dream back as it was when it was cloned; it continues bit-equal.

        Args:
            state: One dream, from `clone_state` of any environment of the same checkpoint.

        Raises:
            ValueError: The state holds several dreams, comes from another model, or is none.
        """
        self._dreams.restore_state(state)
