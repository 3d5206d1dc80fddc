"""The real Memory Maze as a Gymnasium environment; ids in `wmgym.registration`.

This is the world that is recorded, that dreams imitate and that policies trained in dreams are checked on.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from wmgym.arrays import as_array, as_integer
from wmgym.errors import InvalidActionError
from wmgym.rendering import read_render_mode, rendered
from wmgym.vector_inputs import read_action

CONTROL_FREQUENCY_HZ = 4.0
PHYSICS_STEP_S = 0.005
LONGEST_STEP_S = 250.0  # an episode of the smallest maze
RESOLUTIONS = (64, 4096)
SIZES = ("9x9", "11x11", "13x13", "15x15")


class MemoryMazeEnv(gymnasium.Env[NDArray[np.uint8], Any]):
    """Find the coloured targets of a random maze, again and again, in the order asked for.

    ## Description
    A ball with a camera rolls through a maze of 2 m cells. The border of the picture shows
    the colour of the target to reach next; on touching it, another one is drawn. Maze, targets and colours
    stay for one episode, so an agent that remembers where it saw what walks straight there. Frames, rewards
    and ends are those of the `memory-maze` package (P. Pasukonis, T. Lillicrap, D. Hafner,
    arXiv:2210.13383), step for step; the simulation is faster.

    ## Action Space
    `Discrete(6)`: 0 nothing, 1 forward, 2 left, 3 right, 4 forward and left, 5 forward and
    right, held for one step (0.25 s). With `discrete_actions=False`: `Box(-1, 1, (2,))` of roll (-1 is
    forward) and steer (+1 is right).

    ## Observation Space
    `Box(0, 255, (64, 64, 3), uint8)`: the view of the ball's camera, field of view 80
    degrees. A border of 2 pixels has the colour of the current target.

    ## Rewards
    +1 on touching the current target, else 0. The frame that comes with a reward already has the next colour.

    ## Starting State
    `reset(seed=s)` builds the maze that the stock package builds for `seed=s`. `reset()`
    goes on to another maze.

    ## Episode End
    1. Termination: never.
    2. Truncation: after 1000, 2000, 3000 or 4000 steps, by size, at 4 steps a second.

    ## Information
    Empty, or with `global_observables=True` (positions in cells from the bottom-left corner
    of the maze): `agent_pos` (2,), `agent_dir` (2,) unit vector, `targets_pos` (n, 2), `targets_vec` (n, 2)
    as the agent sees them, `target_pos` (2,), `target_vec` (2,), `target_color` (3,) in [0, 1], and
    `maze_layout` (N, N) uint8 indexed `[int(y), int(x)]`, 1 free and 0 wall. Without the border in the
    picture, `target_color` is always there.

    ## Arguments
    See the constructor.

    ## Version History
    * v0: first version, after memory-maze 1.0.3.

    Args:
        size: "9x9", "11x11", "13x13" or "15x15": cells inside the outer wall; 3, 4, 5 or 6 targets.
        global_observables: Put positions and the maze's layout into `info`.
        render_mode: None or "rgb_array", the last observation.
        control_freq: Steps per simulated second, from 0.004 to 200; each must take a multiple of 0.005 s.
        discrete_actions: Six actions, or continuous roll and steer.
        target_color_in_image: Draw the border.
        top_camera: Look from above instead.
        good_visibility: Low walls and raised targets.
        show_path: Draw a small map with the shortest path to the target; `maze_layout` then has 2 on the
            path.
        camera_resolution: Height and width of the picture, in pixels, from 64 to 4096.
        randomize_colors: Shuffle six colours over the targets in each episode.

    Raises:
        ValueError: An argument is none of the above.
        DependencyError: The `maze` extra or an OpenGL library is missing (raised by the first `reset`).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  (Gymnasium's own declaration)

    # So many arguments because they are the stock package's variants, which gym.make passes by name.
    def __init__(
        self,
        size: str = "9x9",
        *,
        global_observables: bool = False,
        render_mode: str | None = None,
        control_freq: float = CONTROL_FREQUENCY_HZ,
        discrete_actions: bool = True,
        target_color_in_image: bool = True,
        top_camera: bool = False,
        good_visibility: bool = False,
        show_path: bool = False,
        camera_resolution: int = 64,
        randomize_colors: bool = False,
    ) -> None:
        if size not in SIZES:
            raise ValueError(f"Unknown maze size {size!r}; expected one of {', '.join(SIZES)}.")
        self.render_mode = read_render_mode(render_mode)
        control_freq = _read_frequency(control_freq)
        camera_resolution = _read_resolution(camera_resolution)
        self.size = size
        self.global_observables = global_observables
        self._variant = {
            "control_freq": control_freq,
            "discrete_actions": discrete_actions,
            "target_color_in_image": target_color_in_image,
            "top_camera": top_camera,
            "good_visibility": good_visibility,
            "show_path": show_path,
            "camera_resolution": camera_resolution,
            "randomize_colors": randomize_colors,
            # The stock path drawer reads them, whether or not the user wants to see them.
            "global_observables": global_observables or show_path,
        }
        shape = (camera_resolution, camera_resolution, 3)
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        box = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(6) if discrete_actions else box
        self._stack: Any = None
        self._image: NDArray[np.uint8] | None = None
        self._needs_reset = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode in a new maze.

        Args:
            seed: Rebuild everything from this seed; None goes on with the generators there are.
            options: Not used.

        Returns:
            The first frame, and the information described above.

        Raises:
            DependencyError: The `maze` extra or an OpenGL library is missing.
        """
        super().reset(seed=seed)
        if seed is not None or self._stack is None:
            self._build(int(self.np_random.integers(2**32)) if seed is None else seed)
        timestep = self._stack.reset()
        self._needs_reset = False
        return self._unpack(timestep.observation)

    def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Hold an action for one control step.

        Args:
            action: An element of `action_space`.

        Returns:
            Frame, reward (0.0 or 1.0), terminated (always False), truncated at the time limit, information.

        Raises:
            ResetNeeded: Before the first `reset`, or after the end of an episode.
            InvalidActionError: The action is not in the action space.
        """
        if self._needs_reset:
            raise ResetNeeded("Call reset() before step(): no episode is running, or the last one is over.")
        timestep = self._stack.step(self._read_action(action))
        self._needs_reset = truncated = bool(timestep.last())
        observation, info = self._unpack(timestep.observation)
        return observation, float(timestep.reward), False, truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """Return the last frame, or None without a render mode.

        Raises:
            ResetNeeded: Before the first `reset`.
        """
        return rendered(self.render_mode, self._image)

    def close(self) -> None:
        """Free the simulation and its GL context. Closing twice is harmless."""
        if self._stack is not None:
            self._stack.close()
            self._stack = None
        self._needs_reset = True

    def _read_action(self, action: Any) -> int | NDArray[np.float32]:
        """Return an element of the action space, as the simulation takes it.

        Raises:
            InvalidActionError: It is none.
        """
        if isinstance(self.action_space, spaces.Discrete):
            return read_action(action, int(self.action_space.n))
        given = as_array(action, "action", InvalidActionError)
        if given.dtype.kind not in "iuf" or not self.action_space.contains(given.astype(np.float32)):
            raise InvalidActionError(
                f"Action {action!r} is not in {self.action_space}, expected two numbers from -1 to 1: roll and steer. "
                "Most likely the policy was made for another action space; clip what it returns, or make the "
                "environment with discrete_actions=True."
            )
        return given.astype(np.float32)

    def _build(self, seed: int) -> None:
        """Build the simulation for a seed, in place of the one there is."""
        from wmgym.memory_maze_setup import import_memory_maze_tasks

        import_memory_maze_tasks()  # settles the OpenGL backend; must come before the next import
        from wmgym.memory_maze_engine import make_engine_stack

        self.close()
        if seed >= 2**32:  # more than the stock package's generator takes
            seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._stack = make_engine_stack(self.size, seed, **self._variant)

    def _unpack(self, observation: dict[str, Any]) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Split a stock observation into frame and information."""
        image: NDArray[np.uint8] = observation.pop("image")
        self._image = image.copy()  # what is returned belongs to the caller
        if self.global_observables:
            return image, observation
        if not self._variant["target_color_in_image"]:
            return image, {"target_color": observation["target_color"]}
        return image, {}


def _read_frequency(control_freq: Any) -> float:
    """Return the frequency as a float.

    Raises:
        ValueError: It is no number, or makes a step that is not a whole number of the simulation's own.
    """
    known = isinstance(control_freq, int | float | np.integer | np.floating) and not isinstance(control_freq, bool)
    if known and 1 / LONGEST_STEP_S <= control_freq <= 1 / PHYSICS_STEP_S:
        substeps = 1 / float(control_freq) / PHYSICS_STEP_S
        if abs(substeps - round(substeps)) <= 1e-6:
            return float(control_freq)
    raise ValueError(
        f"control_freq = {control_freq!r} given, expected a number from {1 / LONGEST_STEP_S:g} to "
        f"{1 / PHYSICS_STEP_S:g} for which a step of 1 / control_freq seconds is a multiple of {PHYSICS_STEP_S} s, the "
        "step of the simulation. Fix: pass 4.0, as in the recordings, or a divisor of 200."
    )


def _read_resolution(camera_resolution: Any) -> int:
    """Return the resolution as an int.

    Raises:
        ValueError: It is no whole number, or out of range.
    """
    number, (least, most) = as_integer(camera_resolution), RESOLUTIONS
    if number is None or not least <= number <= most:
        raise ValueError(
            f"camera_resolution = {camera_resolution!r} given, expected a whole number of pixels from {least} to "
            f"{most}. Fix: pass 64, as in the recordings."
        )
    return number
