"""The simulation inside a Memory Maze, step for step equal to the stock package and several times as fast.

The stock environment spends two thirds of a step looking at contacts, one Python object at a time, after
each of 50 physics substeps, and most of the rest drawing pictures in a buffer a hundred times too large.
`MazeEngine` takes the place of the `composer.Environment` at the bottom of the stock stack of wrappers:
same task object, same hooks, same random numbers, but it jumps over substeps in which no target can be
touched, reads contacts as arrays, and computes only the observations the wrappers above ask for.

Import this module only after `memory_maze_setup.import_memory_maze_tasks()`, which settles the OpenGL
backend.
"""

import atexit
import logging
import types
import weakref
from collections.abc import Callable
from typing import Any

import dm_env
import numpy as np
from dm_control import composer, mjcf
from dm_env import specs

from wmgym.memory_maze_render import MazeRenderer
from wmgym.memory_maze_setup import import_memory_maze_tasks

# The ball is driven to at most 2 m/s. With five times that, no substep that could touch is jumped over.
MAX_SPEED_M_S = 10.0
WALKER_RADIUS_M = 0.2  # the shell; head, face and neck stay within it, seen from above
_REACH_SLACK_M = 0.05

# What the stock wrappers read, besides the picture and one position and one vector for each target.
_TASK_OBSERVABLES = (
    "maze_layout",
    "absolute_position",
    "absolute_orientation",
    "target_index",
    "target_color",
)

# Said by dm_control at every reset of a walker without a free joint, which this walker never has.
logging.getLogger("absl").addFilter(lambda record: "Cannot set velocity on Entity" not in record.getMessage())


def make_engine_stack(size: str, seed: int, **variant: Any) -> Any:
    """Build the stock `dm_env` of one maze size, wrappers and all, around a `MazeEngine`.

    Args:
        size: "9x9", "11x11", "13x13" or "15x15".
        seed: Seeds everything that is ever drawn in this object, in [0, 2**32); later resets go on drawing
            from it.
        variant: Keyword arguments of `memory_maze.tasks.memory_maze_9x9` and its sisters.

    Returns:
        The outermost stock wrapper. Its attribute lookups fall through to the `MazeEngine` inside.
    """
    tasks = import_memory_maze_tasks()
    # The stock builder names `composer.Environment` directly. Run the same code with that one name replaced,
    # in a namespace of its own, so that the stock package itself stays as it is.
    namespace = {**vars(tasks), "composer": types.SimpleNamespace(Environment=MazeEngine)}
    entry = f"memory_maze_{size}"
    for name in ("_memory_maze", entry):
        stock: Any = getattr(tasks, name)
        namespace[name] = types.FunctionType(stock.__code__, namespace, name, stock.__defaults__)
    builder: Callable[..., Any] = namespace[entry]
    return builder(seed=seed, **variant)


def _close_if_alive(engine: weakref.ref["MazeEngine"]) -> None:
    """Close an engine that its owner has not closed."""
    alive = engine()
    if alive is not None:
        alive.close()


class MazeEngine(composer.Environment):  # type: ignore[misc]
    """`composer.Environment` for `MemoryMazeTask`: the same episodes with less work per step.

    The constructor does not compile a model, because the first `reset` compiles another one anyway; the
    physics is unavailable until then.

    Args:
        kwargs: Those of `composer.Environment`, as the stock builder gives them.

    Randomness: the `RandomState` it is given, consumed by the task's hooks exactly as in the stock
        environment.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._constructed = False
        self._physics: Any = None
        self._reset_next_step = True
        self._renderer: MazeRenderer | None = None
        super().__init__(**kwargs)
        self._constructed = True
        # A GL context that is still open when Python shuts down makes dm_control print tracebacks.
        atexit.register(_close_if_alive, weakref.ref(self))

    def step(self, action: Any) -> dm_env.TimeStep:
        """Advance by one control step, given the continuous action [roll, steer], each in [-1, 1]."""
        if self._reset_next_step:
            self._reset_next_step = False
            return self.reset()
        physics, random_state = self._physics_proxy, self._random_state
        self._hooks.before_step(physics, action, random_state)
        self._run_substeps()
        self._hooks.after_step(physics, random_state)
        observation = self._observe()
        reward, discount = self._task.get_reward(physics), self._task.get_discount(physics)
        self._reset_next_step = bool(
            self._task.should_terminate_episode(physics) or self._physics.time() >= self._time_limit
        )
        step_type = dm_env.StepType.LAST if self._reset_next_step else dm_env.StepType.MID
        return dm_env.TimeStep(step_type, reward, discount, observation)

    def observation_spec(self) -> dict[str, specs.Array]:
        """Describe what `step` returns, by the stock names; known without a compiled model."""
        task = self._task
        resolution = int(task.observables[self._camera_name()].height)
        layout = task._maze_arena.maze.entity_layer
        spec = {
            self._camera_name(): specs.BoundedArray((resolution, resolution, 3), np.uint8, 0, 255),
            "maze_layout": specs.Array(layout.shape, layout.dtype),
            "absolute_position": specs.Array((3,), float),
            "absolute_orientation": specs.Array((3, 3), float),
            "target_index": specs.Array((), int),
            "target_color": specs.Array((3,), float),
        }
        spec.update({name: specs.Array((3,), float) for name in self._target_names()})
        return spec

    def close(self) -> None:
        """Free simulation and GL context. Closing twice, or before the first reset, is harmless."""
        self._renderer = None
        if self._physics is not None:
            self._physics.free()
            self._physics = None

    def _recompile_physics_and_update_observables(self) -> None:
        """Compile the current maze, open the renderer and look up the numbers of what a step looks at."""
        task = self._task
        if not self._constructed:
            self._physics_proxy = None
            self._n_sub_steps = task.physics_steps_per_control_step
            return
        self.close()
        self._physics = physics = mjcf.Physics.from_mjcf_model(task.root_entity.mjcf_model)
        physics.legacy_step = self._legacy_step
        self._physics_proxy = weakref.proxy(physics)
        self._hooks.refresh_entity_hooks()
        self._hooks.after_compile(self._physics_proxy, self._random_state)

        self._data = physics.data.ptr
        self._walker_id = physics.bind(task._walker.root_body).element_id
        self._target_ids = np.array([physics.bind(target.geom).element_id for target in task._targets])
        self._reach = task._target_radius + WALKER_RADIUS_M + _REACH_SLACK_M
        self._stride = MAX_SPEED_M_S * physics.timestep()

        observables = task.observables
        self._image_name = self._camera_name()
        names = (*_TASK_OBSERVABLES, *self._target_names())
        self._values = {name: observables[name].observation_callable(self._physics_proxy) for name in names}
        camera = observables[self._image_name]
        camera_id = physics.bind(camera._mjcf_element).element_id
        self._renderer = MazeRenderer(physics, camera_id, int(camera.height))
        # `reset` asks this object for the first observation, as it would ask the stock updater.
        self._observation_updater = types.SimpleNamespace(
            reset=lambda physics, random_state: None, get_observation=self._observe
        )

    def _run_substeps(self) -> None:
        """Run the physics of one control step; targets are activated after the very substep that touches."""
        left = self._n_sub_steps
        while left > 0:
            free = min(left, self._count_free_substeps())
            self._physics.step(max(free, 1))
            left -= max(free, 1)
            if free == 0:
                self._activate_touched_targets()

    def _count_free_substeps(self) -> int:
        """Count the coming substeps that cannot touch a target, however the walker moves."""
        waiting = np.array([not target.activated for target in self._task._targets])
        if not waiting.any():
            return int(self._n_sub_steps)
        offsets = self._data.geom_xpos[self._target_ids[waiting], :2] - self._data.xpos[self._walker_id, :2]
        nearest = float(np.sqrt((offsets**2).sum(axis=1).min()))
        return max(0, int((nearest - self._reach) / self._stride))

    def _activate_touched_targets(self) -> None:
        """Let each target in contact with anything activate itself, with the stock side effects."""
        touched = np.isin(self._target_ids, self._data.contact.geom)
        for index in np.flatnonzero(touched):
            self._task._targets[index].after_substep(self._physics_proxy, self._random_state)

    def _observe(self) -> dict[str, Any]:
        """Compute the observations of the present moment, as new arrays."""
        values = {name: np.array(compute()) for name, compute in self._values.items()}
        assert self._renderer is not None  # opened by the compilation that every reset makes
        return {**values, self._image_name: self._renderer.render()}

    def _camera_name(self) -> str:
        """Name the camera this variant shows."""
        return "top_camera" if self._task.observables["top_camera"].enabled else "walker/egocentric_camera"

    def _target_names(self) -> list[str]:
        """Name the observables of target positions, absolute and relative."""
        count = self._task.n_targets
        return [f"walker/target_{kind}_{index}" for index in range(count) for kind in ("abs", "rel")]
