"""Every exception wmgym raises on purpose, in one small tree, so that users can catch what they mean.

A message says what was given, what was expected, the likeliest cause and the fix. Gymnasium's own exceptions
keep their place: stepping before `reset` is `gymnasium.error.ResetNeeded`, as everywhere else.
"""

from gymnasium.error import InvalidAction


class WmgymError(Exception):
    """The root of the tree: catches everything wmgym raises on purpose."""


class CheckpointError(WmgymError):
    """A checkpoint cannot be found, read or trusted: unknown name, truncated file, other format version."""


class ContextError(WmgymError):
    """The real frames a dream should start from have the wrong shape, dtype, range or length."""


class InvalidActionError(WmgymError, InvalidAction):
    """An action lies outside the action space; also caught as `gymnasium.error.InvalidAction`."""


class DependencyError(WmgymError, ImportError):
    """A package or system library is missing or does not fit; the message names the line that installs it."""


class RecordingError(WmgymError):
    """An episode file is missing, truncated or inconsistent; the message names it."""


class ImageWorldError(WmgymError):
    """An environment shows no images that can be recorded, or cannot be made."""
