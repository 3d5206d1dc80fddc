"""Episodes on disk: one `.npz` file each, as the official Memory Maze offline data set has them.

Row t of every array belongs to frame t, and row 0 to the reset: `action[t]` (one-hot) led to `image[t]` and
earned `reward[t]`, so an episode of T steps has T + 1 rows and `action[0]` is zeros. Official files can be
read as they are, and other people's readers of official files can read ours. Images are stored without loss.
Files of worlds with other actions than `Discrete` ones from 0 have one key more, `action_space` (`wmgym.action_spaces`
as text); `action` is then one-hot over the combinations of a `MultiDiscrete`, or float32 vectors of a `Box`.
"""

import math
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmgym.action_spaces import action_count, refuse_other_spaces, to_model, to_text
from wmgym.episode_files import (
    STATE_KEYS,
    check_headers,
    open_arrays,
    read_actions,
    read_checksums,
    read_headers,
    read_space,
)
from wmgym.errors import RecordingError
from wmgym.other_layouts import episode_files, or_other_layout

SEED_RANGES: dict[str, range] = {
    "train": range(0, 1_000_000),
    "validation": range(1_000_000, 2_000_000),
    "test": range(2_000_000, 3_000_000),
}
"""Seeds of mazes to train on, to choose settings on, and to report on: held-out mazes are never trained on."""
_PARTIAL_SUFFIX = ".partial"

Policy = Callable[[Any, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Episode:
    """One recorded episode; row t belongs to frame t, row 0 to the reset."""

    image: NDArray[np.uint8]
    """`[t, H, W, c]` frames, 0 to 255."""

    action: NDArray[np.int64] | NDArray[np.float32]
    """`[t]` int64 index of the action that led to the frame (`wmgym.action_spaces.to_model`), or `[t n]` float32 in the
    environment's units for a `Box`; 0 in row 0, where it means nothing."""

    reward: NDArray[np.float32]
    """`[t]` reward that came with the frame; 0 in row 0."""

    action_count: int
    """How many actions there are to choose from; 0 for a `Box`."""

    state: dict[str, NDArray[Any]] = field(default_factory=dict)
    """What was recorded of `STATE_KEYS`, each with a leading axis `t`, float32 (`maze_layout` uint8)."""

    seed: int | None = None
    """Seed of the environment's reset, if the file says so."""

    policy: str | None = None
    """What acted, as the recorder named it, if the file says so."""

    terminated: bool = False
    """Whether the episode ended with its last frame by itself, and not by time."""

    action_space: gymnasium.Space[Any] | None = None
    """That of the world; None for `Discrete(action_count)`, as in official files, which say no more."""

    @property
    def steps(self) -> int:
        """The number of steps, one less than that of frames."""
        return len(self.image) - 1


@dataclass(frozen=True)
class Scan:
    """What a folder of recordings holds."""

    usable: list[Path]
    """Files that look sound, sorted by name."""

    unusable: dict[Path, str]
    """Why each of the others cannot be used."""

    @staticmethod
    def of(paths: Iterable[Path], check: Callable[[Path], object]) -> "Scan":
        """Return which of some paths pass a check, and what the RecordingError says that it raises of the others."""
        usable, unusable = [], {}
        for path in paths:
            try:
                check(path)
                usable.append(path)
            except RecordingError as error:
                unusable[path] = str(error)
        return Scan(usable, unusable)


def record_episode(
    env: gymnasium.Env[Any, Any], policy: Policy, *, seed: int, policy_name: str, max_steps: int | None = None
) -> Episode:
    """Run a policy for one whole episode and return what happened.

    Args:
        env: Has uint8 images as observations and actions that `wmgym.action_spaces` knows; what its `info` holds of
            `STATE_KEYS` is kept.
        policy: Maps (observation, info) to an action.
        seed: Given to `env.reset`.
        policy_name: Stored with the episode.
        max_steps: End the recording early.

    Raises:
        RecordingError: The action space is none of those, or the policy gave something else.
    """
    space = env.action_space
    try:
        refuse_other_spaces(space)
    except ValueError as error:
        raise RecordingError(f"Cannot record such actions: {error}") from error
    observation, info = env.reset(seed=seed)
    kept = [key for key in STATE_KEYS if key in info]
    images, infos, rewards = [observation], [info], [0.0]
    actions: list[Any] = []
    over = terminated = False
    while not over and len(actions) != max_steps:
        action = _checked(policy(observation, info), space, policy_name)
        observation, reward, terminated, truncated, info = env.step(action)
        over = terminated or truncated
        images.append(observation)
        infos.append(info)
        actions.append(to_model(space, action))
        rewards.append(float(reward))
    led = np.stack([np.zeros_like(actions[0]), *actions])
    plain = isinstance(space, gymnasium.spaces.Discrete) and space.start == 0
    return Episode(
        image=np.stack(images),
        action=led,
        reward=np.array(rewards, dtype=np.float32),
        action_count=action_count(space),
        state={key: _as_stored(key, np.stack([row[key] for row in infos])) for key in kept},
        seed=seed,
        policy=policy_name,
        terminated=bool(terminated),
        action_space=None if plain else space,
    )


def _checked(action: Any, space: gymnasium.Space[Any], policy: str) -> Any:
    """Return what a policy chose, refused if it is not in the space."""
    given = np.asarray(action, space.dtype) if isinstance(space, gymnasium.spaces.Box) else action
    if not space.contains(given):
        raise RecordingError(
            f"policy '{policy}' gave the action {action!r}, expected an element of {space}. Likely cause: a policy for "
            "another environment, or one whose actions are not clipped to the space."
        )
    return given


def write_episode(path: Path, episode: Episode) -> None:
    """Write an episode file, completely or not at all.

    The file appears under its name only when all of it is on disk; a run killed half-way leaves a
    `.partial` file, which `scan` ignores.

    Args:
        path: Where to, ending in `.npz`; its folder must exist.
        episode: What to write.
    """
    rows = len(episode.image)
    if episode.action.ndim == 2:
        action = episode.action.astype(np.float32)
    else:
        action = np.zeros((rows, episode.action_count), dtype=np.float32)
        action[np.arange(1, rows), episode.action[1:]] = 1.0
    arrays: dict[str, Any] = {
        "image": episode.image,
        "action": action,
        "reward": episode.reward,
        "terminal": (np.arange(rows) == rows - 1) & episode.terminated,
        "reset": np.arange(rows) == 0,
        **episode.state,
    }
    if episode.seed is not None:
        arrays["seed"] = np.int64(episode.seed)
    if episode.policy is not None:
        arrays["policy"] = np.str_(episode.policy)
    if episode.action_space is not None:
        arrays["action_space"] = np.str_(to_text(episode.action_space))
    partial = path.with_name(f"{path.name}.{os.getpid()}{_PARTIAL_SUFFIX}")
    try:
        # As np.savez_compressed writes it, but at zlib's level 1: three times as fast, files 5 % larger.
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for key, value in arrays.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@or_other_layout
def read_episode(path: Path, state_keys: Iterable[str] = STATE_KEYS, frame_size: int | None = None) -> Episode:
    """Read one episode file, ours or an official one, and check that its arrays fit together.

    Args:
        path: The `.npz` file, or one of another layout.
        state_keys: Which of the ground-truth arrays to read, where the file has them; none is faster.
        frame_size: What frames of videos are scaled down to (`wmgym.video_recordings`); ours stay as recorded.

    Raises:
        RecordingError: The file is missing, truncated or corrupt, lacks a key, or holds arrays of the wrong
            type, shape or length.
    """
    with open_arrays(path) as archive:
        wanted = ["image", "action", "reward", *state_keys, "seed", "policy", "terminal", "action_space"]
        arrays = {key: archive[key] for key in wanted if key in archive.files}
    check_headers(path, {key: (value.shape, value.dtype) for key, value in arrays.items()})
    space = read_space(path, arrays["action_space"]) if "action_space" in arrays else None
    action, count = read_actions(path, arrays["action"], space)
    with np.errstate(over="ignore"):
        reward = arrays["reward"].astype(np.float32)
    if not np.isfinite(reward).all():
        raise RecordingError(f"{path}: reward is not finite everywhere, as float32.")
    return Episode(
        image=arrays["image"],
        action=action,
        reward=reward,
        action_count=count,
        state={key: _as_stored(key, arrays[key]) for key in state_keys if key in arrays},
        seed=int(arrays["seed"].item()) if "seed" in arrays else None,
        policy=str(arrays["policy"]) if "policy" in arrays else None,
        terminated="terminal" in arrays and bool(arrays["terminal"][-1].any()),
        action_space=space,
    )


@or_other_layout
def read_summary(path: Path) -> tuple[int, float, str]:
    """Return frames, return and policy name ("unknown" in official files) of an episode, without its images.

    Raises:
        RecordingError: The file cannot be read, or its rewards are not finite.
    """
    with open_arrays(path) as archive:
        policy = str(archive["policy"]) if "policy" in archive.files else "unknown"
        frames, total = len(archive["reward"]), float(archive["reward"].sum())
    if not math.isfinite(total):
        raise RecordingError(f"{path}: reward is not finite everywhere.")
    return frames, total, policy


@or_other_layout
def read_frame_size(path: Path) -> int:
    """Return the height of an episode's frames in pixels, without decoding them.

    Raises:
        RecordingError: The file cannot be read, or its arrays do not fit together.
    """
    headers = read_headers(path)
    check_headers(path, headers)
    return headers["image"][0][1]


@or_other_layout
def read_state(
    path: Path, state_keys: Iterable[str] = STATE_KEYS
) -> tuple[dict[str, NDArray[Any]], int | None, str | None]:
    """Return ground truth, seed and policy name of an episode, as `read_episode` does, without decoding its images.

    Args:
        path: The `.npz` file.
        state_keys: Which of the ground-truth arrays to read, where the file has them.

    Raises:
        RecordingError: The file cannot be read, or its arrays do not fit together.
    """
    check_headers(path, read_headers(path))
    with open_arrays(path) as archive:
        state = {key: _as_stored(key, archive[key]) for key in state_keys if key in archive.files}
        seed = int(archive["seed"].item()) if "seed" in archive.files else None
        policy = str(archive["policy"]) if "policy" in archive.files else None
    return state, seed, policy


@or_other_layout
def content_digest(path: Path) -> str:
    """Return what tells the arrays in an episode file from those in others: name, size and checksum of each.

    Read from the file's table of contents, in milliseconds.

    Raises:
        RecordingError: The file cannot be read.
    """
    return read_checksums(path)


def scan(folder: Path, progress: Callable[[Iterable[Path]], Iterable[Path]] = iter) -> Scan:
    """Sort the episodes of a folder into usable and unusable ones, by their tables of contents.

    Ours are its `.npz` files; of other layouts those one folder below are found, too (`wmgym.other_layouts`).
    That finds truncated files, missing keys and arrays of wrong type, shape or length, in milliseconds a
    file. Damage inside an array shows only when it is read: catch `RecordingError` from `read_episode` and
    count.

    Args:
        folder: Where they lie.
        progress: Wraps the files in a progress bar, such as `tqdm.tqdm`.

    Raises:
        RecordingError: There is no such folder.
    """
    if not folder.is_dir():
        raise RecordingError(f"{folder}: no such folder. Fix: record one with experiments/collect_episodes.py.")
    return Scan.of(progress(episode_files(folder)), check_episode)


@or_other_layout
def check_episode(path: Path) -> object:
    """Look through a file without reading its arrays; what is returned is of no use but to its layout.

    Raises:
        RecordingError: It cannot be read, or its arrays do not fit together.
    """
    headers = read_headers(path)
    check_headers(path, headers)
    return headers


def _as_stored(key: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return state in the type in which it is kept: float32, and uint8 for the maze's layout."""
    return values.astype(np.uint8 if key == "maze_layout" else np.float32)
