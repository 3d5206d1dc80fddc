"""Our recordings as a Minari data set, and Minari data sets as our recordings, on this machine only.

Minari keeps its data sets in the folder that the environment variable MINARI_DATASETS_PATH names, and in
`~/.minari/datasets` without it. Nothing is fetched here: `minari download ID` does that, if you want it.

Both keep T + 1 observations to T actions, so an episode goes out and comes back the same. Pictures are stored as they
are: Minari's default, JPEG, loses small things such as Memory Maze's border.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from wmgym.action_spaces import refuse_other_spaces
from wmgym.episode_files import STATE_KEYS
from wmgym.errors import DependencyError, RecordingError
from wmgym.extras import how_to_install, import_extra
from wmgym.foreign_episodes import build_episode, choose_picture, recorded_actions, square_frames
from wmgym.recording import Episode

DataFormat = Literal["hdf5", "arrow", "parquet"]
"""How Minari stores arrays: `hdf5` and `arrow` as they are, `parquet` compressed."""


def import_minari() -> ModuleType:
    """Return Minari.

    Raises:
        DependencyError: It is missing.
    """
    return import_extra("minari", "Minari", "Minari data sets cannot be read or written", "minari")


def folder_of(dataset_id: str) -> Path:
    """Return where Minari keeps a data set.

    Raises:
        ValueError: The name is none that Minari allows.
        DependencyError: Minari is missing.
    """
    import_minari()
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage import get_dataset_path

    try:
        parse_dataset_id(dataset_id)
    except (TypeError, ValueError) as error:  # TypeError: it has no version
        raise ValueError(
            f"{dataset_id!r} given as name of a Minari data set, expected NAMESPACE/NAME-vNUMBER of letters, "
            "digits, - and _, such as memory-maze/mixture-v0 (a namespace has at least two letters)."
        ) from error
    return Path(get_dataset_path(dataset_id)).resolve()  # Minari joins relative ones twice


class MinariWriter:
    """Writes a new Minari data set, episode by episode; it appears under its name when all of it is on disk.

    Use it as a context: what goes wrong inside leaves nothing behind. A run that is killed leaves a hidden folder
    beside, which Minari ignores.
    """

    def __init__(self, dataset_id: str, env_id: str | None = None, data_format: DataFormat = "hdf5") -> None:
        """Refuse what cannot be written, before anything is.

        Args:
            dataset_id: NAMESPACE/NAME-vNUMBER.
            env_id: The world's id, for Minari's `recover_environment`; it must be registered, and is not opened.
            data_format: How arrays are stored.

        Raises:
            RecordingError: There is a data set of that name.
            ValueError: The name is none that Minari allows, or no such world is registered.
            DependencyError: Minari, or what the format needs, is missing.
        """
        self.folder = folder_of(dataset_id)
        self.episodes = 0
        self._id, self._format = dataset_id, data_format
        self._storage: Any = None
        if self.folder.exists():
            raise RecordingError(
                f"{self.folder} is there already; expected a name that is free, since nothing is overwritten. Fix: "
                f"another name or version, or delete it: minari delete {dataset_id}"
            )
        _import_storage(data_format)
        try:
            self._spec = gymnasium.spec(env_id) if env_id else None
        except gymnasium.error.Error as error:
            raise ValueError(
                f"{env_id!r} given as the recorded world, and no such id is registered ({error}). Fix: import the "
                "package that registers it (package:id), or leave the id out."
            ) from error

    def __enter__(self) -> "MinariWriter":
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._partial = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        return self

    def add(self, episode: Episode) -> None:
        """Append an episode; the first decides what space observations and actions have.

        Raises:
            RecordingError: Its frames or actions are of another space than the first one's.
        """
        action_space, actions = recorded_actions(episode)
        observation_space = Box(0, 255, episode.image.shape[1:], np.uint8)
        if self._storage is None:
            self._open(observation_space, action_space)
        elif (observation_space, action_space) != (self._storage.observation_space, self._storage.action_space):
            raise RecordingError(
                f"frames {episode.image.shape[1:]} and actions {action_space}, expected "
                f"{self._storage.observation_space.shape} and {self._storage.action_space}, as the first episode has: "
                "a Minari data set has one space. Fix: convert the others under a name of their own."
            )
        from minari.data_collector import EpisodeBuffer

        steps = np.arange(episode.steps) == episode.steps - 1
        self._storage.update_episodes(
            [
                EpisodeBuffer(
                    seed=episode.seed,
                    observations=episode.image,
                    actions=actions,
                    rewards=episode.reward[1:],
                    terminations=steps & episode.terminated,
                    truncations=steps & (not episode.terminated),
                    infos=dict(episode.state),
                )
            ]
        )
        if episode.policy is not None:
            self._storage.update_episode_metadata([{"policy": episode.policy}], [self.episodes])
        self.episodes += 1

    def _open(self, observation_space: Box, action_space: gymnasium.Space[Any]) -> None:
        minari = import_minari()
        from minari.dataset.minari_storage import MinariStorage

        self._storage = MinariStorage.new(
            self._partial / "data", observation_space, action_space, self._spec, self._format, jpeg_encoding=False
        )
        self._storage.update_metadata(
            {
                "dataset_id": self._id,
                "minari_version": minari.__version__,
                "description": "Recordings of wmgym. Pictures are stored without loss; infos hold ground truth.",
            }
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._storage is not None:
            _make_namespace(self._id)
            if self.folder.exists():  # os.replace would nest nothing, but fail with less of an explanation
                shutil.rmtree(self._partial, ignore_errors=True)
                raise RecordingError(
                    f"{self.folder} has appeared meanwhile; nothing is overwritten. Run one at a time."
                )
            self._partial.chmod(0o755)
            self._partial.rename(self.folder)
        else:
            shutil.rmtree(self._partial, ignore_errors=True)


def _import_storage(data_format: str) -> None:
    from minari.dataset._storages import get_minari_storage

    try:
        get_minari_storage(data_format)
    except ImportError as error:
        raise DependencyError(
            f"Minari's format {data_format} needs another package ({error}). Install it with: "
            f"{how_to_install('minari')}"
        ) from error


def _make_namespace(dataset_id: str) -> None:
    """Tell Minari of the namespace of a data set, as its own writer does."""
    from minari.namespace import create_namespace, list_local_namespaces

    namespace = dataset_id.rpartition("/")[0]
    if namespace and namespace not in list_local_namespaces():
        create_namespace(namespace)


class MinariRecordings:
    """The episodes of a Minari data set on this machine, as ours."""

    def __init__(self, dataset_id: str, image_key: str | None = None, frame_size: int | None = None) -> None:
        """Open a data set; pictures are read later.

        Args:
            dataset_id: NAMESPACE/NAME-vNUMBER.
            image_key: Which entry of a `Dict` observation is the picture (`outer/inner` if nested); the only one by
                default.
            frame_size: Bring frames to so many pixels along each side; as they are by default.

        Raises:
            RecordingError: It is not there, damaged, or has observations or actions that cannot be recorded.
            ValueError: The name is none that Minari allows.
            DependencyError: Minari, or what its format needs, is missing.
        """
        minari = import_minari()
        folder = folder_of(dataset_id)
        try:
            self._data = minari.load_dataset(dataset_id, download=False)
            space = self._data.observation_space
            self.numbers: list[int] = [int(number) for number in self._data.episode_indices]
        except ImportError as error:
            raise DependencyError(f"{folder}: {error}. Install it with: {how_to_install('minari')}") from error
        except FileNotFoundError as error:
            raise RecordingError(
                f"{folder}: no such data set. Fix: set MINARI_DATASETS_PATH to the folder it is in, or fetch it there "
                f"yourself: minari download {dataset_id}"
            ) from error
        except Exception as error:  # damaged metadata raises a dozen kinds
            why = str(error) or type(error).__name__
            raise RecordingError(
                f"{folder}: cannot be opened ({why}). Likely cause: damage, a version this Minari does not know, or "
                "spaces that it takes from a world that is not installed. Fix: fetch it anew."
            ) from error
        try:
            self._where, _ = choose_picture(space, image_key)
            self.action_space: gymnasium.Space[Any] = self._data.action_space
            refuse_other_spaces(self.action_space)
        except ValueError as error:
            raise RecordingError(f"{folder}: {error}") from error
        self.policy = f"minari:{dataset_id}"
        self._folder, self._frame_size = folder, frame_size

    def read(self, number: int) -> Episode:
        """Return an episode; its policy is `minari:ID`, followed by the name that we wrote, if we wrote it.

        Raises:
            RecordingError: It is damaged, or its arrays do not fit together.
        """
        try:
            data = next(iter(self._data.iterate_episodes([number])))
            told: Mapping[str, Any] = next(iter(self._data.storage.get_episode_metadata([number])))
            pictures = data.observations
            for key in self._where:
                pictures = pictures[key]
            frames = square_frames(np.asarray(pictures, np.uint8), self._frame_size)
            seed = told.get("seed")
            return build_episode(
                frames,
                np.asarray(data.actions),
                np.asarray(data.rewards),
                self.action_space,
                terminated=bool(np.asarray(data.terminations)[-1:].any()),
                policy=" ".join([self.policy, *([str(told["policy"])] if told.get("policy") else [])]),
                seed=None if seed is None else int(seed),
                state=_state(data.infos or {}, len(frames)),
            )
        except DependencyError:
            raise
        except Exception as error:  # h5py and pyarrow raise a dozen kinds on damaged files
            why = str(error) or type(error).__name__
            raise RecordingError(f"{self._folder}: episode {number} cannot be used: {why}") from error


def _state(infos: Mapping[str, Any], rows: int) -> dict[str, NDArray[Any]]:
    """Return what infos hold of `STATE_KEYS`, a row a frame."""
    found = {key: np.asarray(infos[key]) for key in STATE_KEYS if key in infos}
    return {
        key: values.astype(np.uint8 if key == "maze_layout" else np.float32)
        for key, values in found.items()
        if values.shape[:1] == (rows,) and values.dtype.kind in "fiub"
    }
