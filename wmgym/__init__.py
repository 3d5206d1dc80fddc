"""A learned world, seen as a Gymnasium environment; importing it makes its ids known to Gymnasium.

The names below are loaded when they are first used, because they need torch and `import wmgym` shall be
cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

from wmgym.registration import register_all, register_dream

if TYPE_CHECKING:
    from wmgym.checkpoint import Checkpoint, open_checkpoint
    from wmgym.dream_state import DreamState
    from wmgym.env import DreamEnv
    from wmgym.image_world import ImageWorld
    from wmgym.memory_maze import MemoryMazeEnv
    from wmgym.minerl import MineRLEnv
    from wmgym.real_worlds import real_world
    from wmgym.vector_env import DreamVectorEnv
    from wmgym.wrappers import WorldModelObservation

__all__ = [
    "Checkpoint",
    "DreamEnv",
    "DreamState",
    "DreamVectorEnv",
    "ImageWorld",
    "MemoryMazeEnv",
    "MineRLEnv",
    "WorldModelObservation",
    "open_checkpoint",
    "real_world",
    "register_dream",
]

_HOMES = {
    "Checkpoint": "wmgym.checkpoint",
    "DreamEnv": "wmgym.env",
    "DreamState": "wmgym.dream_state",
    "DreamVectorEnv": "wmgym.vector_env",
    "ImageWorld": "wmgym.image_world",
    "MemoryMazeEnv": "wmgym.memory_maze",
    "MineRLEnv": "wmgym.minerl",
    "WorldModelObservation": "wmgym.wrappers",
    "open_checkpoint": "wmgym.checkpoint",
    "real_world": "wmgym.real_worlds",
}

register_all()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
