"""Which real world was recorded, and how: kept beside recordings and models, so that both can be taken back there."""

import ctypes.util
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium

from wmgym.action_spaces import from_text, same_actions, to_text
from wmgym.errors import CheckpointError, ImageWorldError
from wmgym.image_world import ImageWorld

COLLECTION_FILE = "collection.json"
WORLD_FILE = "world.json"
"""Of a checkpoint; a folder of recordings has the same facts under "world" in `collection.json`."""
MAZES = "wmgym/MemoryMaze-"
"""How the ids of Memory Maze begin, whatever its size."""


@dataclass(frozen=True)
class RecordedWorld:
    """What it takes to make a world as it was recorded."""

    env: str
    """Id, as `gymnasium.make` takes it; with its module in front (`module:id`) where importing that registers it."""

    action_space: gymnasium.Space[Any]
    """Of the world itself."""

    max_episode_steps: int | None
    """After so many steps recorded episodes were ended; None where the world alone says when."""

    env_args: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of `gymnasium.make`."""

    pixels: str = "observation"
    """See `wmgym.image_world.ImageWorld`, as of the next three."""

    image_key: str | None = None
    frame_size: int = 64
    rewards: str = "real"

    def make(self, max_episode_steps: int | None = None, **kwargs: Any) -> ImageWorld:
        """Make the real world, with frames as they were recorded.

        Args:
            max_episode_steps: Instead of the recorded limit.
            **kwargs: For `gymnasium.make`, beside those that were recorded.

        Raises:
            ImageWorldError: It cannot be made, or shows no such images, or takes other actions than it did.
        """
        env = make_image_world(
            self.env, {**self.env_args, **kwargs}, pixels=self.pixels, image_key=self.image_key,
            frame_size=self.frame_size, rewards=self.rewards,
            max_episode_steps=max_episode_steps or self.max_episode_steps,
        )  # fmt: skip
        if not same_actions(env.action_space, self.action_space):
            raise ImageWorldError(
                f"{self.env} takes {env.action_space}, expected {self.action_space}, as when it was recorded. Likely "
                "cause: another version of its package. Fix: install the one it was recorded with."
            )
        return env

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON has them; `from_json` reads them."""
        return {
            "env": self.env,
            "env_args": self.env_args,
            "pixels": self.pixels,
            "image_key": self.image_key,
            "frame_size": self.frame_size,
            "rewards": self.rewards,
            "action_space": to_text(self.action_space),
            "max_episode_steps": self.max_episode_steps,
        }

    @staticmethod
    def from_json(values: Any) -> "RecordedWorld":
        """Return what `to_json` wrote.

        Raises:
            ValueError: It did not.
        """
        try:
            told = dict(values)
            return RecordedWorld(**(told | {"action_space": from_text(told["action_space"])}))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{str(values)[:200]!r} describes no recorded world ({type(error).__name__}: {error}), expected what "
                "experiments/collect_episodes.py writes. Likely cause: a damaged or newer file."
            ) from error


def make_image_world(
    env: str,
    env_args: dict[str, Any] | None = None,
    *,
    pixels: str = "observation",
    image_key: str | None = None,
    frame_size: int = 64,
    rewards: str = "real",
    max_episode_steps: int | None = None,
) -> ImageWorld:
    """Make an environment and show its frames as `ImageWorld` does; on a machine without a display it draws off-screen.

    Args:
        env: Id, or `module:id`; the module is looked for in the current folder too.
        env_args: Keyword arguments of `gymnasium.make`.
        pixels: See `ImageWorld`, as of the next three.
        image_key: Likewise.
        frame_size: Likewise.
        rewards: Likewise.
        max_episode_steps: End episodes after so many steps; None leaves that to the environment.

    Raises:
        ImageWorldError: It cannot be made, or shows no images.
        ValueError: Another argument does not fit.
    """
    draw_off_screen()
    if ":" in env and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    kwargs = dict(env_args or {})
    if pixels == "render":
        kwargs.setdefault("render_mode", "rgb_array")
    if max_episode_steps is not None:
        kwargs["max_episode_steps"] = max_episode_steps
    try:
        made = gymnasium.make(env, **kwargs)
    except Exception as error:  # a bad id, a missing package, no display, a refused argument: each has its own kind
        raise ImageWorldError(
            f"{env} cannot be made with {kwargs} ({type(error).__name__}: {error}). Expected the id of a registered "
            "environment, with the module that registers it in front where it is not Gymnasium's own (module:id), and "
            "arguments it takes."
        ) from error
    try:
        return ImageWorld(made, frame_size, pixels, image_key, rewards)
    except Exception:
        made.close()
        raise


def draw_off_screen() -> None:
    """Have pyglet (MiniWorld) and MuJoCo draw off-screen where there is no display; what is set in the shell stands.

    Side effects: environment variables of this process, which both read when they are first imported.
    """
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    os.environ.setdefault("PYGLET_HEADLESS", "1")
    os.environ.setdefault("MUJOCO_GL", "egl" if ctypes.util.find_library("EGL") else "osmesa")


def time_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """Return after how many steps an environment truncates an episode, as far as it tells; None where it does not.

    It tells in its spec, or, where it keeps the time itself as MiniWorld does, in its attribute `max_episode_steps`.
    """
    limit = None if env.spec is None else env.spec.max_episode_steps
    if limit is None:
        limit = getattr(env.unwrapped, "max_episode_steps", None)
    return int(limit) if isinstance(limit, int) and limit > 0 else None


def read_world(folder: Path) -> RecordedWorld | None:
    """Return which world a checkpoint was recorded from; None where it does not say so.

    Args:
        folder: Of the checkpoint.

    Raises:
        CheckpointError: It says so, and cannot be understood.
    """
    path = folder / WORLD_FILE
    if not path.exists():
        return None
    try:
        return RecordedWorld.from_json(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); expected the facts that train_world_model.py copies from the "
            "recordings. Restore the checkpoint from its source."
        ) from error


def copy_world(recordings: Path, checkpoint: Path) -> None:
    """Write into a checkpoint which world its recordings are of; nothing if they do not say so.

    Args:
        recordings: Folder of `experiments/collect_episodes.py`.
        checkpoint: Folder that exists.

    Raises:
        CheckpointError: They say so, and cannot be understood.
    """
    path = recordings / COLLECTION_FILE
    try:
        told = json.loads(path.read_text()) if path.exists() else {}
        if not isinstance(told, dict) or "world" not in told:
            return
        text = json.dumps(RecordedWorld.from_json(told["world"]).to_json(), indent=2) + "\n"
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}), expected the summary of these recordings. Delete it, and run "
            "collect_episodes.py again with the same arguments: it is written anew."
        ) from error
    partial = checkpoint / (WORLD_FILE + ".partial")
    partial.write_text(text)
    partial.replace(checkpoint / WORLD_FILE)
