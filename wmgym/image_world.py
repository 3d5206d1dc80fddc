"""Any Gymnasium environment that shows images, as recorder and world model see it: square uint8 frames."""

from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from wmgym.action_spaces import refuse_other_spaces
from wmgym.errors import ImageWorldError
from wmgym.square_frames import squash

Pixels = Literal["observation", "render"]
Rewards = Literal["real", "sign"]
FRAME_STEP = 8
"""Frame sizes are multiples of it: the tokenizer's latents have a cell for so many pixels."""


class ImageWorld(gymnasium.Wrapper[NDArray[np.uint8], Any, Any, Any], RecordConstructorArgs):
    """Shows the frames of an environment as uint8 squares, so that it and a dream of it have the same observations.

    Frames of another size are squashed (`wmgym.square_frames`). `render()` returns the frame that was observed last.
    What the environment itself shows stays in `last_observation`, for policies that were made for it.

    Args:
        env: Shows images, or draws them, and takes Discrete, MultiDiscrete or bounded Box actions.
        frame_size: Height and width of a frame, pixels; a multiple of 8.
        pixels: "observation": frames are what is observed; "render": what `env.render()` draws, for which it was made
            with `render_mode="rgb_array"`.
        image_key: Which entry of a `Dict` observation is the image; None for the only one that is.
        rewards: "real": as the environment pays them. "sign": -1, 0 or 1 for less than, equal to or more than 0, as
            V. Mnih et al. (Nature 518, 2015) have them: where an event pays differently each time, and what
            counts is that it happens. Returns are then sums of signs.

    Raises:
        ImageWorldError: The environment shows or draws no uint8 RGB images, or `image_key` is none of its images. While
            it runs: a frame has another shape or type than the first of its episode.
        ValueError: Another argument is none of the above, or the actions are none that can be recorded.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        frame_size: int = 64,
        pixels: str = "observation",
        image_key: str | None = None,
        rewards: str = "real",
    ) -> None:
        RecordConstructorArgs.__init__(
            self, frame_size=frame_size, pixels=pixels, image_key=image_key, rewards=rewards
        )  # fmt: skip
        super().__init__(env)
        if frame_size < FRAME_STEP or frame_size % FRAME_STEP:
            raise ValueError(
                f"frame_size = {frame_size} given, expected a multiple of {FRAME_STEP}: the tokenizer has one latent "
                f"cell for {FRAME_STEP} pixels. Fix: {max(1, round(frame_size / FRAME_STEP)) * FRAME_STEP}."
            )
        for name, given, known in (("pixels", pixels, Pixels), ("rewards", rewards, Rewards)):
            if given not in get_args(known):
                raise ValueError(f"{name} = {given!r} given, expected one of {get_args(known)}.")
        refuse_other_spaces(env.action_space)
        self._size, self._pixels, self._sign = frame_size, pixels, rewards == "sign"
        self._key = _find_image(env, image_key) if pixels == "observation" else None
        if pixels == "render":
            _refuse_undrawn(env, image_key)
        self._name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        self.observation_space = Box(0, 255, (frame_size, frame_size, 3), np.uint8)
        self.last_observation: Any = None
        self._shape: tuple[int, ...] | None = None
        self._frame: NDArray[np.uint8] | None = None

    @property
    def render_mode(self) -> str | None:  # type: ignore[override]
        """That of the environment if it has a window, else "rgb_array"."""
        return "human" if self.env.render_mode == "human" else "rgb_array"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: For the environment.
            options: For the environment.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        self._shape = None
        return self._look(observation), info

    def step(self, action: Any) -> tuple[NDArray[np.uint8], Any, bool, bool, dict[str, Any]]:
        """Step the environment.

        Args:
            action: An element of `action_space`.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        paid = float(np.sign(float(reward))) if self._sign else reward
        return self._look(observation), paid, terminated, truncated, info

    def render(self) -> Any:
        """Return the frame that was observed last, `(s, s, 3)`; None where the environment draws into a window."""
        if self.env.render_mode == "human":
            return self.env.render()
        return None if self._frame is None else self._frame.copy()

    def _look(self, observation: Any) -> NDArray[np.uint8]:
        """Return the frame, checked and squashed."""
        self.last_observation = observation
        if self._pixels == "render":
            given, source = self.env.render(), "render()"
        else:
            given, source = (observation if self._key is None else observation[self._key]), "the observation"
        frame = np.asarray(given)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or frame.size == 0:
            raise ImageWorldError(
                f"{self._name}: {source} gave {frame.dtype} {frame.shape}, expected a uint8 image (height, width, 3). "
                f"{_fix_for(frame.dtype, frame.shape)}"
            )
        if self._shape not in (None, frame.shape):
            raise ImageWorldError(
                f"{self._name}: {source} gave a frame of {frame.shape}, the first of the episode was {self._shape}; "
                "expected one size, since a change of scale would look like motion. Likely cause: a window that was "
                "resized. Fix: a wrapper that keeps one size (gymnasium.wrappers.ResizeObservation)."
            )
        self._shape = frame.shape
        self._frame = squash(frame, self._size)
        return self._frame.copy()


def _find_image(env: gymnasium.Env[Any, Any], key: str | None) -> str | None:
    """Return the entry of a `Dict` observation that is the image; None where the observation itself is."""
    space = env.observation_space
    if isinstance(space, Dict):
        images = {name: part for name, part in space.spaces.items() if _is_image(part)}
        if key is None and len(images) == 1:
            return next(iter(images))
        if key in images:
            return key
        found = f"its images are {sorted(images)}" if images else "none of its entries is a uint8 image"
        given = f"image_key = {key!r} given, but" if key is not None else "no image_key given, and"
        raise ImageWorldError(
            f"{given} the observation has the entries {sorted(space.spaces)}; {found}. Expected the name of one uint8 "
            "image (height, width, 3). Fix: --image-key NAME, or --pixels render."
        )
    if key is not None:
        raise ImageWorldError(f"image_key = {key!r} given, but the observation {space} has no entries. Leave it away.")
    if not _is_image(space):
        shape = space.shape or ()
        dtype = space.dtype if space.dtype is not None else np.dtype(object)
        raise ImageWorldError(
            f"the observation is {space}, expected a uint8 image (height, width, 3), 0 to 255. {_fix_for(dtype, shape)}"
        )
    return None


def _is_image(space: Any) -> bool:
    return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[-1] == 3


def _fix_for(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    """Say what to do about what is no image."""
    if len(shape) == 2 or shape[-1:] == (1,):
        return "It is grayscale. Fix: record the colours, or repeat them (gymnasium.wrappers.TransformObservation)."
    if len(shape) == 3 and shape[0] == 3:
        return "Its colours come first. Fix: gymnasium.wrappers.TransformObservation with a transposition."
    if len(shape) == 3 and dtype.kind == "f":
        return "It holds floats. Fix: gymnasium.wrappers.TransformObservation with (255 * image).astype(numpy.uint8)."
    return "Fix: --pixels render, if the environment draws itself (render_mode 'rgb_array')."


def _refuse_undrawn(env: gymnasium.Env[Any, Any], key: str | None) -> None:
    """Refuse an environment that draws nothing."""
    if key is not None:
        raise ImageWorldError(f"image_key = {key!r} given with pixels = 'render', which looks at no observation.")
    if env.render_mode != "rgb_array":
        modes = (env.metadata or {}).get("render_modes")
        raise ImageWorldError(
            f"pixels = 'render' given, but the environment has render_mode = {env.render_mode!r}, expected "
            f"'rgb_array'; it offers {modes}. Fix: gymnasium.make(..., render_mode='rgb_array'), or, where it offers "
            "no such mode, pixels = 'observation'."
        )
