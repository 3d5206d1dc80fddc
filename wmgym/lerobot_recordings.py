"""LeRobot data sets of version 3.0, as our recordings, read from their files with pyarrow and PyAV.

A LeRobot row is an observation, the action taken there, and what came of it (`next.reward`, `next.done`). The frame
that the last action led to is not stored. So of N rows N frames and N - 1 steps are kept: the last action is dropped,
with its reward and its end. Rewards are 0 where there is no `next.reward`. An episode counts as terminated if
`next.done`, and not `next.truncated`, is set of the last action kept: by that rule hardly any is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmgym.errors import DependencyError, RecordingError
from wmgym.foreign_episodes import build_episode, square_frames
from wmgym.json_files import read_object
from wmgym.lerobot_actions import Extent, space_of_actions
from wmgym.lerobot_files import choose_camera, decode_image, file_path, read_columns, read_info
from wmgym.lerobot_video import decode_at
from wmgym.recording import Episode


class LeRobotRecordings:
    """The episodes of a LeRobot data set on this machine, as ours."""

    def __init__(
        self, folder: Path, image_key: str | None = None, action_key: str = "action", frame_size: int | None = None
    ) -> None:
        """Open a data set; rows and pictures are read later.

        Args:
            folder: It has `meta`, `data` and mostly `videos` in it.
            image_key: Which camera's pictures to take; the only one's by default.
            action_key: Which feature is the action.
            frame_size: Bring frames to so many pixels along each side; as they are by default.

        Raises:
            RecordingError: It is not there, of another version, damaged as a whole, or has pictures or actions that
                cannot be recorded.
            DependencyError: pyarrow is missing.
        """
        self._folder, self._frame_size, self._action_key = folder, frame_size, action_key
        self._info = read_info(folder)
        self._features: Mapping[str, Any] = self._info["features"]
        self._image_key = choose_camera(folder, self._features, image_key)
        self.unreadable: dict[Path, str] = {}
        """Files of meta/episodes that cannot be read, and why: their episodes are not among `numbers`."""
        self._rows = self._read_index()
        self.numbers = sorted(self._rows)
        if (told := self._info.get("total_episodes")) != len(self._rows):
            self.unreadable[folder / "meta/episodes"] = (
                f"lists {len(self._rows)} episodes, meta/info.json says {told!r}. Fix: fetch meta again."
            )
        stats = read_object(folder / "meta/stats.json") if (folder / "meta/stats.json").exists() else {}
        try:
            self.action_space: gymnasium.Space[Any] = space_of_actions(
                self._features, stats, action_key, self._extent_of_actions
            )
        except ValueError as error:
            raise RecordingError(f"{folder}: {error}") from error
        self.policy = f"lerobot:{folder.resolve().name}"

    def read(self, number: int) -> Episode:
        """Return an episode; its policy is `lerobot:` and the name of the folder.

        Raises:
            RecordingError: A file is missing or damaged, or its arrays do not fit together.
            DependencyError: PyAV or Pillow is missing.
        """
        where = self._rows[number]
        video = self._features[self._image_key]["dtype"] == "video"
        optional = [key for key in ("next.reward", "next.done", "next.truncated") if key in self._features]
        columns = ["frame_index", "timestamp", self._action_key, *optional, *([] if video else [self._image_key])]
        try:
            path = self._data_file(where)
            table = read_columns(path, columns, number)
            if table["frame_index"] != list(range(where["length"])):
                raise RecordingError(
                    f"{path}: {len(table['frame_index'])} rows of it, or not in order; meta/episodes says "
                    f"{where['length']}. Likely cause: the recorder was stopped half-way. Fix: fetch both again."
                )
            pictures = self._video_frames(where, table["timestamp"]) if video else self._images(table[self._image_key])
            actions = np.array(table[self._action_key]).reshape(-1, *(self.action_space.shape or ()))
            steps = len(actions) - 1
            done, truncated = (table.get(key, [False])[steps - 1 : steps] for key in ("next.done", "next.truncated"))
            rewards = np.array(table.get("next.reward", np.zeros(steps + 1)), np.float64).reshape(-1)
            return build_episode(
                pictures,
                actions[:-1],
                rewards[:-1],
                self.action_space,
                terminated=bool(np.any(done)) and not np.any(truncated),
                policy=self.policy,
            )
        except (DependencyError, MemoryError):
            raise
        except Exception as error:  # what is damaged may have any type
            why = str(error) or type(error).__name__
            raise RecordingError(f"{self._folder}: episode {number} cannot be used: {why}") from error

    def reward_dropped(self, number: int) -> float:
        """Return the reward of the last action of an episode, which `read` drops; 0 if rewards are not recorded.

        Raises:
            RecordingError: The file cannot be read.
        """
        if "next.reward" not in self._features:
            return 0.0
        where = self._rows[number]
        path = self._data_file(where)
        return float(np.array(read_columns(path, ["next.reward"], number)["next.reward"][-1:], np.float64).sum())

    def _read_index(self) -> dict[int, Mapping[str, Any]]:
        """Return where each episode is, by number."""
        video = self._features[self._image_key]["dtype"] == "video"
        columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
        if video:
            names = ("chunk_index", "file_index", "from_timestamp")
            columns += [f"videos/{self._image_key}/{name}" for name in names]
        rows: dict[int, Mapping[str, Any]] = {}
        for path in sorted((self._folder / "meta/episodes").glob("*/*.parquet")):
            try:
                table = read_columns(path, columns)
            except RecordingError as error:
                self.unreadable[path] = str(error)
                continue
            for row in zip(*table.values(), strict=True):
                where = dict(zip(table, row, strict=True))
                rows[int(where["episode_index"])] = where
        if not rows:
            told = "; ".join(self.unreadable.values()) or "no file meta/episodes/*/*.parquet"
            raise RecordingError(f"{self._folder}: no episode is listed ({told}). Fix: fetch meta/episodes again.")
        return rows

    def _data_file(self, where: Mapping[str, Any]) -> Path:
        return file_path(self._folder, self._info, "data_path", where["data/chunk_index"], where["data/file_index"])

    def _extent_of_actions(self) -> Extent:
        """Return the smallest and largest action that can be read, for data sets without stats.json."""
        lows, highs = [], []
        for path in sorted({self._data_file(where) for where in self._rows.values()}):
            try:
                values = np.array(read_columns(path, [self._action_key])[self._action_key], np.float64)
            except (RecordingError, ValueError):  # its episodes are named when they are read
                continue
            lows.append(values.min(axis=0))
            highs.append(values.max(axis=0))
        if not lows:
            raise ValueError("no file of actions can be read. Fix: fetch data again.")
        return np.asarray(np.min(lows, axis=0)), np.asarray(np.max(highs, axis=0))

    def _video_frames(self, where: Mapping[str, Any], timestamps: Sequence[float]) -> NDArray[np.uint8]:
        """Return the frames of an episode, scaled as they come so that large ones are never all in memory."""
        prefix = f"videos/{self._image_key}"
        path = file_path(
            self._folder,
            self._info,
            "video_path",
            where[f"{prefix}/chunk_index"],
            where[f"{prefix}/file_index"],
            self._image_key,
        )
        times = where[f"{prefix}/from_timestamp"] + np.array(timestamps, np.float64)
        frames = decode_at(path, times, float(self._info["fps"]))
        return np.concatenate([square_frames(frame[None], self._frame_size) for frame in frames])

    def _images(self, stored: Sequence[Any]) -> NDArray[np.uint8]:
        return np.concatenate([square_frames(decode_image(one)[None], self._frame_size) for one in stored])
