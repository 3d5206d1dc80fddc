"""A MineRL environment (0.4 or 1.0, old gym interface) as a Gymnasium environment; id in `wmgym.registration`.

Minecraft is the real world that recordings come from and that policies trained in dreams are checked on; MineRL is
installed by the user.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from wmgym.arrays import read_integer
from wmgym.minerl_actions import ActionMapping, ActionTable
from wmgym.minerl_camera import KeysAndCamera
from wmgym.minerl_frames import to_square
from wmgym.minerl_setup import check_spaces, make_minerl, no_op
from wmgym.rendering import read_render_mode, rendered

Frame = NDArray[np.uint8]

ACTIONS: dict[str, type[ActionTable | KeysAndCamera]] = {"table": ActionTable, "keys_and_camera": KeysAndCamera}
LARGEST_SEED = 2**63 - 1
LATEST_STEPS = 20
"""Minecraft's own clock starts a little before the first step: an end so many steps before the limit is its doing, but
of short episodes no more than a hundredth of them."""


class MineRLEnv(gymnasium.Env[Frame, Any]):
    """Act in Minecraft, as MineRL has it, with the frames and actions of a world model.

    ## Description
    Wraps an environment of MineRL 0.4 or 1.0 with dictionaries as observations and actions: Treechop, Navigate,
    ObtainDiamond, BASALT and others, not the obfuscated ones. A step is one game tick, 0.05 s.

    ## Action Space
    By the argument `actions`:

    * `"table"`: `Discrete(18)`, see `wmgym.minerl_actions.STANDARD_TABLE`: walk, jump, attack, turn and look by 10
      degrees.
    * `"keys_and_camera"`: `MultiDiscrete([3, 3, 2, 2, 7, 11])`: none/forward/back, none/left/right, jump, attack,
      pitch, yaw in mu-law bins up to 10 degrees (`wmgym.minerl_camera`).
    * an `ActionMapping` of your own, such as `ActionTable([TableAction(("forward",)), ...])`.

    All that they do not press (place, craft, inventory, ESC) stays as in MineRL's no-op.

    ## Observation Space
    `Box(0, 255, (frame_size, frame_size, 3), uint8)`: `pov`, 64x64 or 360x640 pixels, averaged over areas.

    ## Rewards
    MineRL's.

    ## Starting State
    `reset(seed=s)` gives `s` to MineRL, whose seed holds for one episode; `reset()` draws the next from the generator.
    So worlds are as reproducible as MineRL makes them.

    ## Episode End
    1. Termination: MineRL says done: the task is solved, the agent is dead or has left.
    2. Truncation: at the step limit of MineRL's registration, said by `TimeLimit.truncated`, by counting, or by a done
       within the last hundredth of it, at most 20 steps: Minecraft's own clock runs out about then, and MineRL tells no
       difference. Or Minecraft broke down: then `info["error"]` says why, and the last frame is shown again.

    ## Information
    The rest of MineRL's observation (`compass`, `inventory`, ...) and of its information.

    ## Version History
    * v0: first version, after minerl 0.4.4 and 1.0.2.

    Args:
        task: Id of MineRL's environment.
        env: An environment of MineRL's that is there already; `task` is not used then.
        actions: "table", "keys_and_camera" or an `ActionMapping`.
        frame_size: Height and width of a frame, pixels.
        render_mode: None or "rgb_array", the last frame in MineRL's own resolution.

    Raises:
        DependencyError: MineRL is missing or cannot be imported.
        ValueError: Another argument is none of the above, or the environment has other observations or actions.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  (Gymnasium's own declaration)

    def __init__(
        self,
        *,
        task: str = "MineRLTreechop-v0",
        env: Any = None,
        actions: str | ActionMapping = "table",
        frame_size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = read_render_mode(render_mode)
        self.frame_size = read_integer(frame_size, "frame_size", 1)
        self.mapping = _mapping(actions)
        self._env = make_minerl(task) if env is None else env
        self._closed = False
        check_spaces(self._env, self.mapping, self.frame_size)
        self.observation_space = spaces.Box(0, 255, (self.frame_size, self.frame_size, 3), np.uint8)
        self.action_space = self.mapping.space
        self._limit: int | None = getattr(getattr(self._env, "spec", None), "max_episode_steps", None)
        self._pov: Frame | None = None
        self._steps, self._needs_reset = 0, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode. MineRL takes seconds for it, and minutes for the first.

        Args:
            seed: Of the world; None draws one from the generator there is.
            options: Not used.

        Returns:
            The first frame, and the information described above.

        Randomness: one draw of `np_random` if `seed` is None.
        """
        super().reset(seed=seed)
        world = int(self.np_random.integers(2**31)) if seed is None else int(seed)
        if world > LARGEST_SEED:  # more than Java's long
            world = int(np.random.SeedSequence(world).generate_state(1)[0])
        if hasattr(self._env, "seed"):
            self._env.seed(world)
        observation = self._env.reset()
        self._steps, self._needs_reset = 0, False
        return self._look(observation), _rest(observation)

    def step(self, action: Any) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Hold an action for one tick.

        Args:
            action: An element of `action_space`.

        Returns:
            Frame, MineRL's reward, terminated, truncated, information.

        Raises:
            ResetNeeded: Before the first `reset`, or after the end of an episode.
            InvalidActionError: The action is not in the action space. Nothing was stepped then.
        """
        pressed = self.mapping.to_minerl(action)
        if self._needs_reset or self._pov is None:
            raise ResetNeeded("Call reset() before step(): no episode is running, or the last one is over.")
        observation, reward, done, info = self._env.step({**no_op(self._env), **pressed})
        self._steps += 1
        if "error" in info:  # MineRL shows a random observation then
            self._needs_reset = True
            return to_square(self._pov, self.frame_size), 0.0, False, True, dict(info)
        out_of_time = self._is_out_of_time(bool(done), info)
        self._needs_reset = bool(done) or out_of_time
        terminated = bool(done) and not out_of_time
        return self._look(observation), float(reward), terminated, out_of_time, {**_rest(observation), **info}

    def render(self) -> Frame | None:
        """Return the last frame in MineRL's own resolution, or None without a render mode.

        Raises:
            ResetNeeded: Before the first `reset`.
        """
        return rendered(self.render_mode, self._pov)

    def close(self) -> None:
        """End Minecraft. Closing twice is harmless."""
        if not self._closed:
            self._closed = self._needs_reset = True
            self._env.close()

    def _is_out_of_time(self, done: bool, info: Mapping[str, Any]) -> bool:
        """Say whether the episode was cut off by the step limit."""
        if info.get("TimeLimit.truncated"):
            return True
        if self._limit is None:
            return False
        early = min(LATEST_STEPS, self._limit // 100) if done else 0
        return self._steps >= self._limit - early

    def _look(self, observation: Mapping[str, Any]) -> Frame:
        """Keep a frame and return it in the model's size."""
        self._pov = np.array(observation["pov"], order="C")
        return to_square(self._pov, self.frame_size)


def _mapping(actions: Any) -> ActionMapping:
    """Return the mapping that is named or given."""
    if isinstance(actions, ActionMapping):
        return actions
    if isinstance(actions, str) and actions in ACTIONS:
        return ACTIONS[actions]()
    raise ValueError(f"actions = {actions!r} given, expected 'table', 'keys_and_camera' or an ActionMapping.")


def _rest(observation: Mapping[str, Any]) -> dict[str, Any]:
    """Return all of an observation but the frame."""
    return {key: value for key, value in observation.items() if key != "pov"}
