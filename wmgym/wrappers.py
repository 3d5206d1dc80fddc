"""Show real environments as dreams are shown, so that one policy runs in both worlds unchanged."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from wmgym.checkpoint import Checkpoint, open_checkpoint
from wmgym.chosen_actions import counted_from_zero, for_environment
from wmgym.codec import frames_to_tensor
from wmgym.context import Context, first_frame
from wmgym.dream import Dreams
from wmgym.observations import observation_space
from wmgym.vector_inputs import read_action, read_actions


class WorldModelObservation(gymnasium.Wrapper[NDArray[Any], Any, NDArray[Any], Any], RecordConstructorArgs):
    """Shows the latents or features that a world model makes of the real frames it observes.

    Each frame goes into the model's memory, with the action that led to it, and what comes out is what a
    dream of the same checkpoint shows. An episode begins with an empty memory. Nothing is imagined and no
    randomness is used. For vector environments wrap each sub-environment, and pass them one open checkpoint
    to share its weights.

    A policy on pixels needs no wrapper: real environment and dream have the same observation space then.

    Args:
        env: Has frames and actions like the recordings the model was trained on.
        checkpoint: Folder, Hugging Face Hub id, open checkpoint, or None for the one that ships with wmgym.
        observation: "features" or "latent".
        device: Where the model runs, as torch names it.
        precision: "float32" or "bfloat16", as that of the dreams.
        forget_every: Empty the memory each time it has taken in so many frames of an episode, to measure what it is
            worth; None for never. Latents, which tell of one frame, do not change.

    Raises:
        CheckpointError: The checkpoint is missing, damaged or of another version.
        DependencyError: The device needs CUDA.
        ValueError: The environment's spaces are not the model's, or `observation` or `precision` is none of the two, or
            `forget_every` is less than 1.
    """

    def __init__(
        self,
        env: gymnasium.Env[NDArray[Any], Any],
        checkpoint: str | Path | Checkpoint | None = None,
        observation: str = "features",
        device: str = "cpu",
        precision: str = "float32",
        forget_every: int | None = None,
    ) -> None:
        if forget_every is not None and forget_every < 1:
            raise ValueError(f"forget_every = {forget_every}, expected 1 frame or more, or None for never.")
        name = str(checkpoint) if isinstance(checkpoint, Path) else checkpoint  # a spec holds JSON
        # Not copied: it may be an open checkpoint.
        RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True, checkpoint=name, observation=observation, device=device, precision=precision,
            forget_every=forget_every,
        )  # fmt: skip
        super().__init__(env)
        opened = open_checkpoint(checkpoint, device)
        config = opened.world.config
        if observation == "pixels":
            raise ValueError(
                "observation = 'pixels', expected 'features' or 'latent'. The pixels are what the "
                "environment itself returns: leave the wrapper away."
            )
        if not opened.takes(env.action_space):
            raise ValueError(
                f"The environment's action space is {env.action_space}, but checkpoint '{opened.name}' was trained on "
                f"{opened.action_space}. Use the environment it was recorded from, or its checkpoint."
            )
        frames = observation_space(config, "pixels")
        if env.observation_space != frames:
            raise ValueError(
                f"The environment's observation space is {env.observation_space}, but checkpoint "
                f"'{opened.name}' was trained on {frames}. Put this wrapper directly around the environment, "
                "and its resolution as recorded."
            )
        self.observation_space = observation_space(config, observation)
        self._observation, self._config = observation, config.dynamics
        self._world, self._forget_every, self._remembered = opened.world, forget_every, 0
        self._dreams = Dreams(opened.world, [], num_dreams=1, precision=precision)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode with an empty memory.

        Args:
            seed: For the real environment.
            options: For the real environment.
        """
        frame, info = self.env.reset(seed=seed, options=options)
        return self._look(first_frame(frame, self._config), begins=True), info

    def step(self, action: Any) -> tuple[NDArray[Any], Any, bool, bool, dict[str, Any]]:
        """Step the real environment and let the model observe where it led.

        Args:
            action: An element of `action_space`.

        Raises:
            InvalidActionError: It is not. The real environment was not stepped then.
        """
        chosen = counted_from_zero(self.action_space, action, ())
        if self._config.action_size:
            led = read_actions([chosen], 1, self._config)
        else:
            led = np.array([read_action(chosen, self._config.num_actions)], np.int64)
        frame, reward, terminated, truncated, info = self.env.step(for_environment(self.action_space, led[0]))
        looked = self._look(Context(frame[None], led))
        return looked, reward, terminated, truncated, info

    def forget(self) -> None:
        """Empty the memory: the next frame is the first that is remembered."""
        self._remembered = 0

    def _look(self, context: Context, begins: bool = False) -> NDArray[np.float32]:
        """Take in one frame, and return what is shown of it."""
        if self._observation == "latent":  # which nothing before has a part in
            with torch.inference_mode():
                latent = self._world.tokenizer.encode(frames_to_tensor(context.frames, self._world.device))
            return latent[0].float().cpu().numpy().copy()
        if begins or self._remembered in (0, self._forget_every):
            self._dreams.start([0], [first_frame(context.frames[0], self._config)])
            self._remembered = 1
        else:
            self._dreams.observe([context])
            self._remembered += 1
        shown: NDArray[np.float32] = self._dreams.observations(self._observation)[0]
        return shown
