"""What the numbers beside a video mean: which are actions, and which frames are kept; by default TECO's Minecraft.

A set of other data says so in a `dataset.json` in the folder of the files, or up to two folders above:

    {"first_action": 0, "action_count": 6, "placeholder": null, "frame_skip": 5, "mixed_actions": "refuse"}

The last three may be left out. It holds for all files below, so that no two files of a set can disagree.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gymnasium.spaces import Discrete, MultiDiscrete, Space

from wmgym.action_spaces import refuse_other_spaces
from wmgym.errors import RecordingError

RULES_FILE = "dataset.json"
_LARGEST = 2**20


@dataclass(frozen=True)
class VideoRules:
    """How a set of videos with actions is read; the defaults are those of TECO's Minecraft set."""

    first_action: int = 1
    """The lowest number that is an action; a model counts actions from it: index = number - first_action."""

    action_count: int = 3
    """How many actions there are, numbered without gaps. TECO's Minecraft: 1 forward, 2 left, 3 right."""

    placeholder: int | None = 0
    """The number that stands for the first frame, to which no action led. None: the first number means nothing where
    there are as many numbers as frames, and is the first action where there is one less."""

    frame_skip: int = 1
    """Keep every so many frames, from the first on."""

    mixed_actions: str = "refuse"
    """What becomes of different actions between two frames that are kept. `refuse`: such a file is not used; the set's
    policy held each action that long. `combine`: each sequence of `frame_skip` actions is an action of its own."""

    def __post_init__(self) -> None:
        """Refuses rules that contradict themselves."""
        for name in ("first_action", "action_count", "placeholder", "frame_skip"):
            value = getattr(self, name)
            least = 0 if name in ("first_action", "placeholder") else 1
            if value is not None and not least <= value <= _LARGEST:
                raise ValueError(f"{name} = {value!r} given, expected a whole number from {least} to {_LARGEST}")
        if self.placeholder in self.numbers:
            raise ValueError(f"placeholder = {self.placeholder} given, expected no number of an action, or null")
        if self.mixed_actions not in ("refuse", "combine"):
            raise ValueError(f"mixed_actions = {self.mixed_actions!r} given, expected 'refuse' or 'combine'")
        refuse_other_spaces(self.action_space)

    @property
    def numbers(self) -> range:
        """The numbers that are actions."""
        return range(self.first_action, self.first_action + self.action_count)

    @property
    def action_space(self) -> Space[Any]:
        """What an agent chooses from, in the numbers of the set."""
        if self.mixed_actions == "combine" and self.frame_skip > 1:
            every = [self.action_count] * self.frame_skip
            return MultiDiscrete(every, start=[self.first_action] * self.frame_skip)
        return Discrete(self.action_count, start=self.first_action)

    def to_text(self) -> str:
        """Return the rules as a `dataset.json` has them."""
        return json.dumps(asdict(self))


def find_rules(path: Path) -> VideoRules | None:
    """Return the rules of the set that a file belongs to; None if no `dataset.json` states any.

    Raises:
        RecordingError: The `dataset.json` is no such file.
    """
    for folder in path.absolute().parents[:3]:
        stated = folder / RULES_FILE
        if stated.is_file():
            return _read(stated)
    return None


def _read(path: Path) -> VideoRules:
    known = [f.name for f in fields(VideoRules)]
    try:
        told = json.loads(path.read_text())
        if not isinstance(told, dict) or not {"first_action", "action_count"} <= set(told) <= set(known):
            raise ValueError(f"it has {sorted(told) if isinstance(told, dict) else type(told).__name__}")
        for name, value in told.items():
            whole = type(value) is int or (name, value) == ("placeholder", None)
            if not (isinstance(value, str) if name == "mixed_actions" else whole):
                raise ValueError(f"{name} = {value!r}")
        return VideoRules(**told)
    except (OSError, ValueError) as error:
        raise RecordingError(
            f"{path}: states no rules by which videos are read ({error}). Expected first_action and action_count, and "
            f"of {', '.join(known[2:])} what differs from the default, such as "
            '{"first_action": 1, "action_count": 3, "placeholder": 0}. Fix: correct it, or move it away.'
        ) from error
