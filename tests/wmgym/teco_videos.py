"""Videos with actions in TECO's layout, whose frames tell which number led to them, for tests."""

import json

import numpy as np

from wmgym.recording import Episode
from wmgym.video_rules import VideoRules
from wmgym.video_writing import write_video_episode

FRAMES = 31
HELD = 5
NUMBERS = np.concatenate([[0], np.repeat([1, 2, 1, 3, 1, 3], HELD)])  # as the published policy holds them
GREY = 60  # per number


def tell_tale(numbers, size=32):
    """Frames whose brightness is the number that led to them."""
    return np.broadcast_to((numbers * GREY)[:, None, None, None], (len(numbers), size, size, 3)).astype(np.uint8)


def read_off(image):
    """The numbers that such frames tell."""
    return np.rint(image.mean((1, 2, 3)) / GREY).astype(int)


def write(path, image, numbers):
    """A video and the numbers beside it, whatever they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    episode = Episode(image, np.zeros(len(image), np.int64), np.zeros(len(image), np.float32), action_count=3)
    write_video_episode(path, episode, VideoRules())
    np.savez(path.with_suffix(".npz"), actions=np.asarray(numbers))
    return path


def state_rules(folder, **rules):
    """Write the rules of the set below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"first_action": 1, "action_count": 3} | rules))
