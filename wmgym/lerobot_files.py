"""The files of a LeRobot data set: what meta/info.json says, where files are, columns of Parquet, stored images.

Layout and names as in lerobot 0.4.4 (`lerobot/datasets/utils.py`, `lerobot_dataset.py`); read without lerobot.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import RecordingError
from wmgym.extras import import_extra
from wmgym.json_files import read_object

VERSION = "v3.0"


def import_parquet() -> ModuleType:
    """Return pyarrow's module of Parquet files.

    Raises:
        DependencyError: It is missing.
    """
    return import_extra("pyarrow.parquet", "pyarrow", "LeRobot data sets cannot be read", "lerobot")


def read_info(folder: Path) -> dict[str, Any]:
    """Return what meta/info.json says of a data set.

    Raises:
        RecordingError: It is missing, damaged, or of another version than 3.0.
    """
    path = folder / "meta/info.json"
    if not path.exists():
        raise RecordingError(
            f"{folder}: no meta/info.json, expected the folder of a LeRobot data set, with meta, data and mostly "
            "videos in it. Likely cause: a folder above or below it was named."
        )
    info = read_object(path)
    version = info.get("codebase_version")
    if version != VERSION:
        older = isinstance(version, str) and version.startswith(("v1", "v2"))
        fix = (
            "lerobot converts version 2.1: python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id=REPO "
            "(2.0 and older: first to 2.1, with an older lerobot)."
            if older
            else "convert it back to v3.0 with the lerobot that wrote it, or ask for a newer wmgym."
        )
        raise RecordingError(f"{path}: codebase_version is {version!r}, expected {VERSION!r}. Fix: {fix}")
    features, fps = info.get("features"), info.get("fps")
    sound = isinstance(features, dict) and all(isinstance(feature, dict) for feature in features.values())
    if not sound or not isinstance(fps, int | float) or not fps > 0:
        raise RecordingError(f"{path}: no features, or fps is {fps!r}, expected both. Fix: fetch it again.")
    return info


def choose_camera(folder: Path, features: Mapping[str, Any], key: str | None) -> str:
    """Return which feature the pictures are.

    Args:
        folder: Of the data set, for messages.
        features: As meta/info.json has them.
        key: The one asked for; None for the only one.

    Raises:
        RecordingError: There is no such camera, or there are none or several and none is named.
    """
    cameras = [name for name, feature in features.items() if feature.get("dtype") in ("video", "image")]
    found = ", ".join(cameras) or "none"
    if key is None and len(cameras) != 1:
        fix = "Fix: name one: --image-key." if cameras else "Data sets without pictures are of no use here."
        raise RecordingError(f"{folder}: {len(cameras)} cameras ({found}), expected one. {fix}")
    if key is not None and key not in features:
        raise RecordingError(f"{folder}: image key {key!r} given, expected one of the cameras: {found}.")
    chosen = cameras[0] if key is None else key
    feature = features[chosen]
    if chosen not in cameras:
        raise RecordingError(
            f"{folder}: image key {key!r} given, which has dtype {feature.get('dtype')!r}, expected 'video' or "
            f"'image': {found}. Float arrays are no pictures: store uint8, 0 to 255, as one of these."
        )
    if (feature.get("info") or {}).get("video.is_depth_map"):
        raise RecordingError(f"{folder}: {chosen} is a depth map, expected colours. Fix: name another: --image-key.")
    return chosen


def file_path(folder: Path, info: Mapping[str, Any], name: str, chunk: int, file: int, video_key: str = "") -> Path:
    """Return the path of a chunk's file.

    Args:
        folder: Of the data set.
        info: Its meta/info.json, which has a pattern by that name.
        name: `data_path` or `video_path`.
        chunk: Number of the chunk.
        file: Number of the file within it.
        video_key: The camera.

    Raises:
        RecordingError: There is no such pattern, or no whole number to fill in.
    """
    try:
        return folder / str(info[name]).format(chunk_index=int(chunk), file_index=int(file), video_key=video_key)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise RecordingError(
            f"{folder}: {name} is {info.get(name)!r} in meta/info.json, chunk {chunk} and file {file} in "
            "meta/episodes; expected a pattern of chunk_index and file_index, and whole numbers. Fix: fetch meta again."
        ) from error


def read_columns(path: Path, columns: Sequence[str], episode: int | None = None) -> dict[str, list[Any]]:
    """Return columns of a Parquet file by name, in the order asked for.

    Args:
        path: The file.
        columns: Which.
        episode: Only rows of that `episode_index`; other row groups are not read.

    Raises:
        RecordingError: It is missing or damaged, or lacks a column.
        DependencyError: pyarrow is missing.
    """
    parquet = import_parquet()
    try:
        missing = set(columns) - set(parquet.read_schema(path).names)
        if missing:
            raise ValueError(f"no column {', '.join(sorted(missing))}")
        chosen = None if episode is None else [("episode_index", "==", episode)]
        table = parquet.read_table(path, columns=list(columns), filters=chosen, partitioning=None)
        return {name: table[name].to_pylist() for name in columns}
    except Exception as error:  # pyarrow raises a dozen kinds on damaged files
        raise RecordingError(
            f"{path}: cannot be read ({error}). Likely cause: missing, or cut short. Fix: fetch it again."
        ) from error


def decode_image(stored: Any) -> NDArray[np.uint8]:
    """Return an image `(H, W, 3)` as the data set library stores it: the bytes of a PNG or JPEG file.

    Raises:
        ValueError: It is not stored as bytes, is damaged, or has more than 8 bits a colour.
        DependencyError: Pillow is missing.
    """
    pillow = import_extra("PIL.Image", "Pillow", "Images cannot be decoded", "lerobot")
    data = stored.get("bytes") if isinstance(stored, dict) else None
    if not data:
        raise ValueError("an image is not stored in the Parquet file. Fix: write the data set anew, images embedded.")
    try:
        image = pillow.open(io.BytesIO(data))
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds on damaged images
        raise ValueError(f"an image is damaged ({error})") from error
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"images have mode {image.mode!r} (floats, or over 8 bits), expected 8 bits a colour")
    return np.asarray(image.convert("RGB"))
