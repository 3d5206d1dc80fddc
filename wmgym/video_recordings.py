"""Episodes of TECO's data sets, read where they lie: videos with actions (arXiv:2210.02396).

    SPLIT/WORKER/000000.mp4 and 000000.npz with `actions`: Minecraft, Habitat
    SPLIT/WORKER/000000.npz with `video` uint8 (t, H, W, 3) and `actions`: DMLab

They know no reward, which is 0, no end, no place and no seed. What the actions mean is TECO's Minecraft set's own, or
what a `dataset.json` states (`wmgym.video_rules`); how they belong to frames, `wmgym.video_actions` says. The functions
here do for such files what those of the same names in `wmgym.recording` do for its own.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.action_spaces import action_count
from wmgym.episode_files import STATE_KEYS, open_arrays, read_checksums, read_headers
from wmgym.errors import RecordingError
from wmgym.mp4_table import read_mp4_table
from wmgym.recording import Episode
from wmgym.square_frames import scale_down
from wmgym.video_actions import Numbers, align, as_actions
from wmgym.video_decoding import decode_frames
from wmgym.video_rules import RULES_FILE, VideoRules, find_rules


def read_episode(path: Path, state_keys: Iterable[str] = STATE_KEYS, frame_size: int | None = None) -> Episode:
    """Read one episode: only the frames that are kept, decoded one at a time.

    Args:
        path: The `.mp4` file, or the `.npz` file that holds `video`.
        state_keys: None is there.
        frame_size: Scale frames down to so many pixels along each side, by averaging; None for as they are.

    Raises:
        RecordingError: A file is missing, truncated or damaged, its actions do not fit its frames or are none of the
            set, or frames cannot be scaled.
        DependencyError: A package that decodes or scales is missing.
    """
    rules, action = check_episode(path)
    if path.suffix == ".mp4":
        image = decode_frames(path, rules.frame_skip, len(action), frame_size)
    else:
        with open_arrays(path) as archive:
            image = archive["video"][:: rules.frame_skip][: len(action)]
        if frame_size is not None:
            image = _scaled(path, image, frame_size)
    return Episode(
        image=image,
        action=action,
        reward=np.zeros(len(image), np.float32),
        action_count=action_count(rules.action_space),
        action_space=rules.action_space,
    )


def check_episode(path: Path) -> tuple[VideoRules, NDArray[np.int64]]:
    """Look through an episode without decoding a frame; return the set's rules and the action that led to each frame.

    Raises:
        RecordingError: As `read_episode` raises it, for all that is seen without decoding.
    """
    frames = _frames_listed(path)[0]
    rules = find_rules(path)
    if rules is None:
        if path.suffix != ".mp4":
            raise RecordingError(
                f"{path}: nothing says which actions its set has: those of DMLab are not published with it. Fix: state "
                f"them in a {RULES_FILE} beside the set, such as "
                '{"first_action": 0, "action_count": 6, "placeholder": null} (wmgym.video_rules).'
            )
        rules = VideoRules()
    return rules, as_actions(path, align(path, _read_numbers(path), frames, rules), rules)


def read_summary(path: Path) -> tuple[int, float, str]:
    """Return the frames that are kept, a return of 0, and "unknown", since no policy is named.

    Raises:
        RecordingError: As `check_episode` raises it.
    """
    return len(check_episode(path)[1]), 0.0, "unknown"


def read_frame_size(path: Path) -> int:
    """Return the height of the frames in pixels, as they were recorded.

    Raises:
        RecordingError: As `check_episode` raises it.
    """
    check_episode(path)
    return _frames_listed(path)[1]


def read_state(
    path: Path, state_keys: Iterable[str] = STATE_KEYS
) -> tuple[dict[str, NDArray[Any]], int | None, str | None]:
    """Return no state, seed nor policy, having looked through the episode.

    Raises:
        RecordingError: As `check_episode` raises it.
    """
    check_episode(path)
    return {}, None, None


def content_digest(path: Path) -> str:
    """Return what tells what is read of an episode from others: checksums of tables of contents, and the rules.

    Raises:
        RecordingError: A file cannot be read.
    """
    video = read_mp4_table(path).fingerprint if path.suffix == ".mp4" else ""
    return f"{video} {read_checksums(path.with_suffix('.npz'))} {(find_rules(path) or VideoRules()).to_text()}"


def _frames_listed(path: Path) -> tuple[int, int]:
    """Return number and height of the frames that a file holds."""
    if path.suffix == ".mp4":
        table = read_mp4_table(path)
        return table.frames, table.height
    headers = read_headers(path)
    if "video" not in headers:
        raise _missing(path, f"video, and there is no {path.stem}.mp4 beside it", headers)
    shape, dtype = headers["video"]
    if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3:
        raise RecordingError(
            f"{path}: video is {dtype} {shape}, expected uint8 (frames, height, width, 3). Fix: convert it, floats "
            "from 0 to 1 by (255 * video).round(), or leave it out."
        )
    return shape[0], shape[1]


def _read_numbers(path: Path) -> Numbers:
    beside = path.with_suffix(".npz")
    if not beside.is_file():
        raise RecordingError(
            f"{path}: there is no {beside.name} beside it, which holds its actions. Fix: fetch it, or leave the video "
            "out."
        )
    with open_arrays(beside) as archive:
        found = list(archive.files)
        numbers = archive["actions"] if "actions" in found else None
    if numbers is None:
        raise _missing(beside, "actions", found)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise RecordingError(
            f"{beside}: actions are {numbers.dtype} {numbers.shape}, expected one whole number a frame. Fix: fetch it "
            "again, or leave it out."
        )
    return np.asarray(numbers.astype(np.int64))


def _missing(path: Path, key: str, found: Iterable[str]) -> RecordingError:
    return RecordingError(
        f"{path}: missing {key}; found {', '.join(sorted(found)) or 'nothing'}. Fix: fetch it again, or leave it out."
    )


def _scaled(path: Path, image: NDArray[np.uint8], frame_size: int) -> NDArray[np.uint8]:
    try:
        return np.stack([scale_down(frame, frame_size) for frame in image])
    except ValueError as error:
        raise RecordingError(f"{path}: {error} Fix: pass a --frame-size of at most its own.") from error
