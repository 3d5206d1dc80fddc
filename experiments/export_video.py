"""Write recordings as videos with actions, in the layout of TECO's data sets, and say how much the videos lose.

    python experiments/export_video.py --recordings recordings/train --output videos/train

Writes OUTPUT/WORKER/000000.mp4 and .npz (`actions`), and `dataset.json` beside OUTPUT: what the numbers mean. The
layout has no rewards, no seeds and no places: what is recorded of them stays behind.
"""

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm

from wmgym.arguments import check_ranges
from wmgym.codec import psnr
from wmgym.encoding import sound_episodes
from wmgym.errors import RecordingError
from wmgym.plain_errors import plain_errors
from wmgym.recording import Episode, read_episode, scan
from wmgym.video_rules import RULES_FILE, VideoRules
from wmgym.video_writing import write_video_episode


@dataclass
class Args:
    """Write recordings as videos with actions."""

    recordings: Path
    """Folder of episodes."""
    output: Path
    """Folder of the split, such as videos/train; the rules are written into the folder it lies in."""
    worker: str = "worker-0"
    """Folder within it."""
    first_action: int = 1
    """Number of the first action; 0 stands for the first frame unless it is an action."""
    quality: int = 2
    """The encoder's quantiser, from 1, the best, to 31."""
    episodes: int = 1_000_000
    """At most this many episodes."""
    max_frames: int | None = None
    """Leave out what comes after so many frames of each; TECO's have 301."""

    def check(self) -> None:
        """Refuses numbers that the layout or the encoder has no place for."""
        check_ranges(self, {"first_action": (0, 1000), "quality": (1, 31), "episodes": (1, math.inf)})
        check_ranges(self, {"max_frames": (2, math.inf)})


def main(args: Args) -> dict[str, float]:
    """Writes the videos; returns how many there are, their PSNR in dB and their bytes as a share of the frames'."""
    args.check()
    found = scan(args.recordings)
    for why in found.unusable.values():
        print(f"skipped {why}", file=sys.stderr)
    folder = args.output / args.worker
    folder.mkdir(parents=True, exist_ok=True)
    rules, errors, frame_bytes, video_bytes = None, [], 0, 0
    files = tqdm(found.usable[: args.episodes], desc="writing", unit="episode")
    for i, (_, whole) in enumerate(sound_episodes(files)):
        episode = shortened(whole, args.max_frames)
        if rules is None:
            placeholder = 0 if args.first_action else None
            rules = VideoRules(args.first_action, episode.action_count, placeholder)
            state_rules(args.output.parent / RULES_FILE, rules)
        path = folder / f"{i:06d}.mp4"
        write_video_episode(path, episode, rules, args.quality)
        errors.append(10 ** (-psnr(episode.image, read_episode(path).image) / 10))
        frame_bytes += episode.image.nbytes
        video_bytes += path.stat().st_size
    if not errors:
        raise RecordingError(f"{args.recordings} holds no usable episode; nothing was written.")
    loss = float(-10 * np.log10(np.concatenate(errors).mean()))
    share = video_bytes / frame_bytes
    print(f"{len(errors)} videos in {folder}: {loss:.1f} dB to the frames recorded, {share:.2%} of their bytes")
    return {"videos": len(errors), "psnr": loss, "share_of_bytes": share}


def shortened(episode: Episode, frames: int | None) -> Episode:
    """The beginning of an episode."""
    kept = slice(frames)
    return replace(episode, image=episode.image[kept], action=episode.action[kept], reward=episode.reward[kept])


def state_rules(path: Path, rules: VideoRules) -> None:
    """Writes the rules of the set, and refuses to change those of another."""
    if path.exists() and path.read_text() != rules.to_text():
        raise ValueError(f"{path} states other rules than {rules.to_text()}. Pass an --output in a folder of its own.")
    path.write_text(rules.to_text())


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
