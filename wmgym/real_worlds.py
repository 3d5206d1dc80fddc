"""From a world model back to the real world it was recorded from."""

from pathlib import Path
from typing import Any

import model.checkpoint
from wmgym.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from wmgym.errors import CheckpointError
from wmgym.image_world import ImageWorld
from wmgym.recorded_world import WORLD_FILE, RecordedWorld, read_world


def recorded_world(checkpoint: str | Path | Checkpoint | None = None) -> RecordedWorld | None:
    """Return which world a checkpoint was recorded from; None if it does not say so.

    Args:
        checkpoint: Folder, Hugging Face Hub id, open checkpoint, or None for the one that ships with wmgym.

    Raises:
        CheckpointError: It is missing, or what it says cannot be understood.
    """
    if isinstance(checkpoint, Checkpoint):
        return checkpoint.recorded
    try:
        folder = model.checkpoint.find_checkpoint(DEFAULT_CHECKPOINT if checkpoint is None else checkpoint)
    except model.checkpoint.CheckpointError as error:
        raise CheckpointError(str(error)) from error
    return read_world(folder)


def real_world(
    checkpoint: str | Path | Checkpoint | None = None, *, max_episode_steps: int | None = None, **kwargs: Any
) -> ImageWorld:
    """Make the real world that a checkpoint was recorded from, with frames made as they were made then.

    Its observation and action spaces are those of the dream of pixels. For a policy on features or latents:
    `WorldModelObservation(real_world(checkpoint), checkpoint)`.

    Args:
        checkpoint: Folder, Hugging Face Hub id, open checkpoint, or None for the one that ships with wmgym.
        max_episode_steps: Instead of the limit it was recorded with.
        **kwargs: For `gymnasium.make`, beside those it was recorded with.

    Raises:
        CheckpointError: The checkpoint is missing, or does not say.
        ImageWorldError: The world cannot be made, or is not as it was.
    """
    recorded = recorded_world(checkpoint)
    if recorded is None:
        raise CheckpointError(
            f"checkpoint '{checkpoint}' has no {WORLD_FILE}, which says what world it was recorded from. Most likely "
            "it was trained by an earlier release, or on recordings that do not say. Fix: make the environment "
            "yourself, wmgym.ImageWorld(gymnasium.make(...))."
        )
    return recorded.make(max_episode_steps, **kwargs)
