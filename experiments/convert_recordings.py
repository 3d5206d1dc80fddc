"""Turn our recordings into a Minari data set, and Minari or LeRobot data sets into our recordings.

    python experiments/convert_recordings.py to-minari --recordings recordings/train --dataset memory-maze/mixture-v0
    python experiments/convert_recordings.py from-minari --dataset NAMESPACE/NAME-v0 --output recordings/minari
    python experiments/convert_recordings.py from-lerobot --folder data/pusht --output recordings/pusht --frame-size 64

Nothing is fetched. Minari's data sets are in the folder that the environment variable MINARI_DATASETS_PATH names
(`~/.minari/datasets` without it); `minari download` fetches public ones there. A Minari data set is written whole or
not at all, and none is overwritten. Recordings that are there are kept: run it again to go on, or to retry what failed.
Episodes that cannot be used are named and counted, and the rest is converted.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import gymnasium
import tyro
from tqdm import tqdm

import wmgym  # noqa: F401 - registers the ids
from agents.results import write_json
from wmgym.arguments import check_ranges
from wmgym.errors import RecordingError
from wmgym.lerobot_recordings import LeRobotRecordings
from wmgym.minari_bridge import DataFormat, MinariRecordings, MinariWriter
from wmgym.plain_errors import plain_errors
from wmgym.recording import Episode, read_episode, read_summary, scan, write_episode

SUMMARY_FILE = "conversion.json"
COLLECTION_FILE = "collection.json"  # experiments/collect_episodes.py


class Source(Protocol):
    """A data set of another format."""

    numbers: list[int]
    policy: str

    def read(self, number: int) -> Episode:
        """Return an episode of it."""
        ...


@dataclass(frozen=True)
class ToMinari:
    """Write our recordings as a new Minari data set, without loss."""

    recordings: Path
    """Folder of recordings."""

    dataset: str
    """Name of the data set: NAMESPACE/NAME-vNUMBER."""

    env: str | None = None
    """Id of the recorded world, which Minari can then make again; by default what collect_episodes.py noted."""

    data_format: DataFormat = "hdf5"
    """How Minari stores arrays: hdf5 and arrow as they are, parquet compressed."""


@dataclass(frozen=True)
class FromOther:
    """Write the episodes of a data set of another format as recordings of ours."""

    source: Any
    """The data set, as its format names it."""

    output: Path
    """Folder for the files; it is made if it is not there."""

    image_key: str | None = None
    """Which pictures to take; the only ones by default."""

    frame_size: int | None = None
    """Squash frames to so many pixels along each side, by averaging areas; as they are by default."""

    episodes: int | None = None
    """Convert the first so many only."""


@dataclass(frozen=True)
class FromMinari(FromOther):
    """Write the episodes of a Minari data set as recordings of ours."""

    source: Annotated[str, tyro.conf.arg(name="dataset")]
    """Name of the data set, which is on this machine: NAMESPACE/NAME-vNUMBER."""

    image_key: str | None = None
    """Which entry of a Dict observation is the picture (outer/inner if nested); the only one by default."""


@dataclass(frozen=True)
class FromLerobot(FromOther):
    """Write the episodes of a LeRobot data set of version 3.0 as recordings of ours."""

    source: Annotated[Path, tyro.conf.arg(name="folder")]
    """Folder of the data set, with meta, data and mostly videos in it."""

    image_key: str | None = None
    """Which camera's pictures to take; the only one's by default."""

    action_key: str = "action"
    """Which feature is the action."""


@dataclass(frozen=True)
class Args:
    """Convert recordings to another format, or another format to recordings."""

    way: Annotated[ToMinari | FromMinari | FromLerobot, tyro.conf.arg(name="")]
    """Which way to convert."""


def to_minari(args: ToMinari) -> dict[str, Any]:
    """Write a Minari data set; return what it holds and what was left out.

    Raises:
        RecordingError: There is a data set of that name, or no recording can be used.
        ValueError: The name is none, or the world is not registered.
    """
    found = scan(args.recordings)
    left_out = {path.name: reason for path, reason in found.unusable.items()}
    frames = 0
    with MinariWriter(args.dataset, args.env or noted_world(args.recordings), args.data_format) as writer:
        for path in tqdm(found.usable, unit="episode", desc=args.dataset):
            try:
                episode = read_episode(path)
                writer.add(episode)
                frames += len(episode.image)
            except RecordingError as error:
                left_out[path.name] = str(error)
        if not writer.episodes:
            told = "; ".join(left_out.values()) or "it has no .npz file"
            raise RecordingError(f"{args.recordings}: nothing to convert ({told}).")
    return {"folder": str(writer.folder), "episodes": writer.episodes, "frames": frames, "left_out": left_out}


def noted_world(folder: Path) -> str | None:
    """Return the id of the world that a folder was recorded in, if it says so and Gymnasium knows it here."""
    try:
        env = str(json.loads((folder / COLLECTION_FILE).read_text(encoding="utf-8"))["env"])
        gymnasium.spec(env)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    except (gymnasium.error.Error, ImportError) as error:
        print(f"the world is not noted in the data set, since it is not registered here: {error}", file=sys.stderr)
        return None
    return env


def from_other(args: FromMinari | FromLerobot) -> dict[str, Any]:
    """Write recordings; return how many there are, and which episodes could not be used.

    Raises:
        RecordingError: The data set cannot be opened, or the folder holds other recordings.
        ValueError: An argument is out of range.
    """
    check_ranges(args, dict.fromkeys(("frame_size", "episodes"), (1, float("inf"))))
    if isinstance(args, FromMinari):
        source: Source = MinariRecordings(args.source, args.image_key, args.frame_size)
        settings: dict[str, Any] = {"source": source.policy}
    else:
        source = LeRobotRecordings(args.source, args.image_key, args.action_key, args.frame_size)
        settings = {"source": str(args.source.resolve()), "action_key": args.action_key}
    settings |= {"image_key": args.image_key, "frame_size": args.frame_size}
    args.output.mkdir(parents=True, exist_ok=True)
    refuse_other_recordings(args.output, settings)
    write_json(args.output / SUMMARY_FILE, {"settings": settings})
    there = set(scan(args.output).usable)
    numbers = source.numbers[: args.episodes]
    summary: dict[str, Any] = {"settings": settings, "episodes": 0, "frames": 0, "dropped_reward": 0.0, "left_out": {}}
    if isinstance(source, LeRobotRecordings):
        summary["left_out"] |= {str(path): reason for path, reason in source.unreadable.items()}
    for number in tqdm(numbers, unit="episode", desc=source.policy):
        path = args.output / f"episode-{number:08d}.npz"
        try:
            if path not in there:
                write_episode(path, source.read(number))
            summary["frames"] += read_summary(path)[0]
            summary["episodes"] += 1
            if isinstance(source, LeRobotRecordings):
                summary["dropped_reward"] += source.reward_dropped(number)
        except RecordingError as error:
            summary["left_out"][str(number)] = str(error)
    write_json(args.output / SUMMARY_FILE, summary)
    return summary


def refuse_other_recordings(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds recordings of another origin, since models are trained on all of it.

    Raises:
        RecordingError: It does.
    """
    path = folder / SUMMARY_FILE
    if not path.exists():
        if any(folder.glob("*.npz")):
            raise RecordingError(f"{folder} holds recordings that were not converted. Fix: another --output.")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordingError(
            f"{path} cannot be read ({error}). Fix: another --output, or delete the folder."
        ) from error
    if found != settings:
        raise RecordingError(
            f"{folder} holds recordings converted with {found}, {settings} asked for; expected the same, since models "
            "are trained on all of a folder. Fix: another --output."
        )


def main(args: Args) -> dict[str, Any]:
    """Convert, and return what was converted and what was left out."""
    return to_minari(args.way) if isinstance(args.way, ToMinari) else from_other(args.way)


if __name__ == "__main__":
    with plain_errors():
        converted = main(tyro.cli(Args, description=__doc__))
    print(json.dumps(converted, indent=2))
    if converted["left_out"]:
        sys.exit(f"{len(converted['left_out'])} episodes or files could not be used, see above; the rest is converted.")
