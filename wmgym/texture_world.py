"""A world in which memory is exactly checkable: a camera over an endless random texture."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from wmgym.arrays import read_integer
from wmgym.rendering import read_render_mode, rendered
from wmgym.vector_inputs import read_action

NOTHING, FORWARD, LEFT, RIGHT, BACK = range(5)
CELLS_PER_VIEW = 4
GRID = 2.0**-20  # positions are multiples of it, so that a way out and back ends where it began, to the bit

Frame = NDArray[np.uint8]
Numbers = NDArray[np.uint64]


class TextureWorldEnv(gymnasium.Env[Frame, Any]):
    """Move and turn a camera over a texture without end that is another one in every episode.

    ## Description
    The camera looks straight down on a plane. The plane is coloured at random: a lattice of points has
    independent colours, with smooth transitions between them. Nothing can be known of a view that was never seen; a
    view seen before has one right answer. So what a model gets right there, it remembers. Colours are a hash of
    lattice point and episode: the plane has no border, and does not repeat within any reach of the camera.

    ## Action Space
    `Discrete(5)`: 0 nothing, 1 forward, 2 turn left, 3 turn right, 4 back.

    ## Observation Space
    `Box(0, 255, (size, size, 3), uint8)`: the view, "forward" up.

    ## Rewards
    None: 0 in every step.

    ## Starting State
    Position (0, 0), heading along +x, on the texture of the seed.

    ## Episode End
    Never by itself; the registered id truncates after 1,000 steps.

    ## Information
    `agent_pos` (2,) in views, and `agent_dir` (2,), a unit vector.

    ## Version History
    * v0: first version.

    Args:
        size: Height and width of a frame, pixels.
        step: Length of a step, in views. With 1.25 neighbouring views have no lattice point in common: nothing can be
            guessed of one from the other. With 1 they share the colours along their common edge, below 1 they overlap.
        turns: How many turns make a whole circle; a multiple of 4. With 4, a view seen again is seen pixel for pixel or
            turned by a right angle.
        render_mode: None or "rgb_array", the last observation.

    Raises:
        ValueError: An argument is out of range.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  (Gymnasium's own declaration)

    def __init__(self, *, size: int = 32, step: float = 1.25, turns: int = 4, render_mode: str | None = None) -> None:
        self.render_mode = read_render_mode(render_mode)
        if not GRID <= step <= 1000:
            raise ValueError(f"step = {step!r} given, expected a number of views from {GRID:g} to 1000, such as 1.25.")
        self.size, turns = read_integer(size, "size", 1), read_integer(turns, "turns", 4)
        if turns % 4:
            raise ValueError(f"turns = {turns} given, expected a multiple of 4, so that right angles are among them.")
        angle = 2 * np.pi * np.arange(turns) / turns
        self._directions = np.stack([np.cos(angle), np.sin(angle)], axis=1).round(15) + 0.0
        self._moves = np.round(step * self._directions / GRID) * GRID
        self.observation_space = spaces.Box(0, 255, (self.size, self.size, 3), np.uint8)
        self.action_space = spaces.Discrete(5)
        self._frame: Frame | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode on a new texture.

        Args:
            seed: Fixes the texture; None goes on to another.
            options: None or empty: there is nothing to choose.

        Raises:
            ValueError: There is something in `options`.

        Randomness: one draw of `np_random`; steps consume none.
        """
        if options:
            raise ValueError(f"options has the keys {sorted(map(str, options))}, expected none: there are no options.")
        super().reset(seed=seed)
        self._texture = int(self.np_random.integers(2**63))
        self._position, self._heading = np.zeros(2), 0
        return self._look()

    def step(self, action: Any) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Move or turn, and look.

        Args:
            action: An element of `action_space`.

        Raises:
            ResetNeeded: Before the first `reset`.
            InvalidActionError: The action is not in the action space.
        """
        if self._frame is None:
            raise ResetNeeded("Call reset() before step(): no episode is running.")
        chosen = read_action(action, 5)
        if chosen in (LEFT, RIGHT):
            self._heading = (self._heading + (1 if chosen == LEFT else -1)) % len(self._directions)
        elif chosen != NOTHING:
            self._position = self._position + (1 if chosen == FORWARD else -1) * self._moves[self._heading]
        frame, info = self._look()
        return frame, 0.0, False, False, info

    def render(self) -> Frame | None:
        """Return the last frame, or None without a render mode.

        Raises:
            ResetNeeded: Before the first `reset`.
        """
        return rendered(self.render_mode, self._frame)

    def _look(self) -> tuple[Frame, dict[str, Any]]:
        """Return the view and the information that comes with it."""
        direction = self._directions[self._heading]
        self._frame = view(self._texture, self._position, direction, self.size)
        return self._frame.copy(), {"agent_pos": self._position.copy(), "agent_dir": direction.copy()}


def view(texture: int, position: NDArray[np.float64], direction: NDArray[np.float64], size: int) -> Frame:
    """Return what the camera sees.

    Args:
        texture: Number of the texture, from 0 to 2**63 - 1.
        position: `(2,)` Centre of the view, in views.
        direction: `(2,)` Unit vector that points up in the picture.
        size: Height and width in pixels.
    """
    offset = (np.arange(size) + 0.5) / size - 0.5
    aside = np.array([direction[1], -direction[0]])  # to the right
    points = position + offset[None, :, None] * aside - offset[:, None, None] * direction
    return (colour(texture, points * CELLS_PER_VIEW) * 255).round().astype(np.uint8)


def colour(texture: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the texture's red, green and blue at points of the plane, each from 0 to 1.

    Args:
        texture: Number of the texture.
        points: `(n, ..., 2)` in lattice cells, up to 2**50 from the origin.
    """
    corner = np.floor(points)
    x, y = np.moveaxis(points - corner, -1, 0)
    right, up = (s * s * (3 - 2 * s) for s in (x, y))  # no kink at lattice points
    i, j = np.moveaxis(corner.astype(np.int64), -1, 0)
    blended = np.zeros((*points.shape[:-1], 3))
    for at_right, horizontal in ((0, 1 - right), (1, right)):
        for at_top, vertical in ((0, 1 - up), (1, up)):
            blended += (horizontal * vertical)[..., None] * _lattice_colour(texture, i + at_right, j + at_top)
    return blended


def _lattice_colour(texture: int, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the colour of lattice points: three times 16 bits of a hash of the texture's number, `i` and `j`."""
    mixed = _mix(_mix(np.uint64(texture) ^ _mix(i.astype(np.uint64))) ^ j.astype(np.uint64))
    channels = [(mixed >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32)]
    return np.stack(channels, axis=-1).astype(np.float64) / 0xFFFF


def _mix(v: Numbers) -> Numbers:
    """Scatter 64 bits over 64 bits, one to one (the finaliser of splitmix64, G. Steele and others, 2014)."""
    v = v + np.uint64(0x9E3779B97F4A7C15)
    v = (v ^ (v >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    v = (v ^ (v >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return v ^ (v >> np.uint64(31))
