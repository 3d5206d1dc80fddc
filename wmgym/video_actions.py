"""Numbers beside a video, as the actions that led to its frames: what belongs to what, and what each is to a model."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.action_spaces import to_model
from wmgym.errors import RecordingError
from wmgym.video_rules import RULES_FILE, VideoRules

Numbers = NDArray[np.int64]


def align(path: Path, numbers: Numbers, frames: int, rules: VideoRules) -> Numbers:
    """Return the actions that led from each frame to the next, `[n - 1]` for the first n frames of a video.

    Videos and numbers of one set differ by one, as TECO's do (301 numbers; 301 or 300 frames are told of). What each
    case means:

    - numbers begin with the placeholder: number t led to frame t. As many as frames: all belong. One more: the
      recorder lost the last frame, and the last number is dropped. One less: it lost the last number, and the last
      frame is dropped;
    - they begin with an action, one less than frames: whoever wrote them left the placeholder out, and number t led to
      frame t + 1;
    - the set has no placeholder, and as many numbers as frames: number t led to frame t, number 0 means nothing.

    Args:
        path: What to call the video.
        numbers: As they were stored.
        frames: Of the video.
        rules: Of the set.

    Raises:
        RecordingError: It is none of these.
    """
    given = f"{path}: {frames} frames and {len(numbers)} actions given"
    extra = len(numbers) - frames
    begins = len(numbers) > 0 and int(numbers[0]) == rules.placeholder
    if begins and -1 <= extra <= 1:
        led = numbers[1:frames]
    elif extra == -1:
        led = numbers
    elif extra == 0 and rules.placeholder is None:
        led = numbers[1:]
    elif len(numbers) > 0 and extra in (0, 1) and rules.placeholder is not None:
        raise RecordingError(
            f"{given}, the first of them {numbers[0]}, expected the placeholder {rules.placeholder}, since to the "
            f"first frame led none. Fix: say in a {RULES_FILE} beside the set which number it has (wmgym.video_rules), "
            "or leave the file out."
        )
    else:
        raise RecordingError(
            f"{given}, expected as many, or one more or less. Likely cause: files of two recordings, or a recording "
            "that broke off. Fix: fetch both anew, or leave them out."
        )
    if len(led) < rules.frame_skip:
        raise RecordingError(
            f"{given}, expected at least {1 + rules.frame_skip} frames: the first and one that is kept after it."
        )
    return led


def as_actions(path: Path, led: Numbers, rules: VideoRules) -> NDArray[np.int64]:
    """Return the index of the action that led to each frame that is kept, `[t]`; 0 for the first.

    Index = number - first_action. Where frames are skipped, the index of `k` numbers that are all alike is that of the
    one; of `combine`, index = their place in the list of all sequences, the last number running fastest.

    Args:
        path: What to call the video.
        led: From each frame to the next.
        rules: Of the set.

    Raises:
        RecordingError: A number is no action, or actions differ between two frames that are kept.
    """
    known = np.isin(led, rules.numbers)
    if not known.all():
        at = int(np.argmin(known))
        raise RecordingError(
            f"{path}: action {led[at]} led to frame {at + 1}, expected {rules.numbers[0]} to {rules.numbers[-1]}. "
            f"Likely cause: another data set, or damage. Fix: state its actions in a {RULES_FILE} beside the set "
            "(wmgym.video_rules), or leave the file out."
        )
    windows = led[: len(led) // rules.frame_skip * rules.frame_skip].reshape(-1, rules.frame_skip)
    space: Any = rules.action_space
    if rules.mixed_actions == "combine" and rules.frame_skip > 1:
        actions = to_model(space, windows)
    else:
        mixed = (windows != windows[:, :1]).any(1)
        if mixed.any():
            at = int(np.argmax(mixed)) * rules.frame_skip
            raise RecordingError(
                f"{path}: actions {windows[at // rules.frame_skip].tolist()} led from frame {at} to frame "
                f"{at + rules.frame_skip}, expected one that is held over the {rules.frame_skip} frames of frame_skip. "
                f'Fix: in {RULES_FILE}, a frame_skip that divides how long actions are held, or "mixed_actions": '
                '"combine".'
            )
        actions = to_model(space, windows[:, 0])
    return np.concatenate([np.zeros(1, np.int64), actions])
