"""Episodes written as TECO's data sets have them: a video, and the actions beside it.

Videos lose detail, most of all colour, which they keep for every second pixel only. Record losslessly
(`wmgym.recording.write_episode`), and write videos for whoever reads no other layout.
"""

import os
from pathlib import Path

import numpy as np

from wmgym.pyav import import_av
from wmgym.recording import Episode
from wmgym.video_rules import VideoRules

FRAME_RATE_HZ = 20
"""As TECO's Minecraft set has it."""


def write_video_episode(path: Path, episode: Episode, rules: VideoRules, quality: int = 2) -> None:
    """Write an episode as a video with actions, each completely or not at all; the video comes last.

    Args:
        path: Where to, ending in `.mp4`; the actions go into the `.npz` file of the same name. The folder must exist.
        episode: What to write. Rewards, ground truth, seed and policy are left out: the layout has no place for them.
        rules: Which numbers its actions become: index + first_action, and the placeholder for the first frame.
        quality: The encoder's quantiser (MPEG-4 part 2, `mp4v`), from 1, the best, to 31.

    Raises:
        ValueError: The episode has other actions than the rules, frames are not even in height and width, which the
            encoder needs, or frames shall be skipped.
        DependencyError: PyAV is missing.
    """
    height, width = episode.image.shape[1:3]
    if rules.frame_skip != 1 or episode.action_count != rules.action_count:
        raise ValueError(
            f"an episode of {episode.action_count} actions given, to be written by rules of {rules.action_count} and a "
            f"frame_skip of {rules.frame_skip}; expected as many, and 1. Pass VideoRules(first_action=1, "
            f"action_count={episode.action_count})."
        )
    if height % 2 or width % 2:
        raise ValueError(f"frames of {height}x{width} pixels given, expected even numbers. Crop or scale them first.")
    numbers = (episode.action + rules.first_action).astype(np.int32)
    numbers[0] = 0 if rules.placeholder is None else rules.placeholder
    beside = path.with_suffix(".npz")
    partials = [target.with_name(f"{target.name}.{os.getpid()}.partial") for target in (beside, path)]
    try:
        with partials[0].open("wb") as file:
            np.savez(file, actions=numbers)
        _encode(partials[1], episode, quality)
        os.replace(partials[0], beside)
        os.replace(partials[1], path)
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


def _encode(path: Path, episode: Episode, quality: int) -> None:
    av = import_av()
    with av.open(str(path), "w", format="mp4") as container:
        options = {"qmin": str(quality), "qmax": str(quality), "bf": "0"}
        stream = container.add_stream("mpeg4", rate=FRAME_RATE_HZ, options=options)
        stream.height, stream.width, stream.pix_fmt = *episode.image.shape[1:3], "yuv420p"
        for image in episode.image:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
