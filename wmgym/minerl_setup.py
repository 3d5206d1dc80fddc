"""Make MineRL's environments, and see what they take: everything that depends on its being installed or its classes."""

import importlib
from collections.abc import Mapping
from typing import Any

from wmgym.errors import DependencyError
from wmgym.minerl_actions import ActionMapping
from wmgym.minerl_keys import CAMERA, OBFUSCATED

_INSTALL = (
    "Fix: install MineRL 0.4.4 (pip install minerl==0.4.4) or 1.0 (pip install "
    "git+https://github.com/minerllabs/minerl@v1.0.2), which need a JDK 8 and, without a screen, xvfb. 1.0 asks for "
    "numpy < 1.24, but its Python side runs with numpy 1.26, as that of 0.4.4 does, and so does wmgym."
)


def make_minerl(task: str) -> Any:
    """Make one of MineRL's environments.

    Raises:
        DependencyError: MineRL is missing or cannot be imported.
        ValueError: It has no environment of that name.
    """
    try:
        importlib.import_module("minerl")  # which registers its ids
        gym = importlib.import_module("gym")
    except ImportError as error:
        raise DependencyError(
            f"Real Minecraft needs MineRL, which cannot be imported ({error}).\n{_INSTALL}"
        ) from error
    try:
        return gym.make(task)
    except gym.error.Error as error:
        raise ValueError(
            f"task = {task!r} given, expected an id of MineRL's, such as 'MineRLTreechop-v0' ({error})."
        ) from error


def check_spaces(env: Any, mapping: ActionMapping, frame_size: int) -> None:
    """Check that an environment has MineRL's dictionaries, with all that a mapping presses.

    Args:
        env: With `observation_space` and `action_space`.
        mapping: Says what is pressed.
        frame_size: What frames are scaled to.

    Raises:
        ValueError: It has not.
    """
    observations, actions = _parts(env, "observation_space"), _parts(env, "action_space")
    if observations is None or actions is None or not hasattr(env.action_space, "no_op"):
        raise ValueError(
            f"{env!r} has no dictionaries as observations and actions, expected an environment of MineRL's. Fix: pass "
            "one as its gym.make returns it."
        )
    if OBFUSCATED in actions:
        raise ValueError(
            f"the actions of {env!r} are obfuscated (one '{OBFUSCATED}'), expected keys. Fix: take the environment "
            "without VectorObf in its name."
        )
    missing = sorted({*mapping.keys, CAMERA} - set(actions)) + ["pov"] * ("pov" not in observations)
    if missing:
        raise ValueError(
            f"{env!r} has no {', '.join(missing)}; its actions are {', '.join(sorted(actions))}. Fix: pass actions= "
            "a table of your own that does without."
        )
    height, width = observations["pov"].shape[:2]
    if min(height, width) < frame_size:
        raise ValueError(
            f"frame_size = {frame_size} given, expected at most {min(height, width)}: {env!r} shows {height}x{width} "
            "pixels."
        )


def no_op(env: Any) -> dict[str, Any]:
    """Return the action of an environment of MineRL's that does nothing: keys up, camera still, texts "none"."""
    return dict(env.action_space.no_op())


def _parts(env: Any, name: str) -> Mapping[str, Any] | None:
    """Return the spaces in one of an environment's dictionary spaces, None if it is no such space."""
    parts = getattr(getattr(env, name, None), "spaces", None)
    return parts if isinstance(parts, Mapping) else None
