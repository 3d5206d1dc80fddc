"""The dream of Minecraft: the environments of any other dream, with a checkpoint that the user has trained.

No Minecraft checkpoint ships with wmgym, so none is opened unless it is named.
"""

from pathlib import Path
from typing import Any

from wmgym.checkpoint import Checkpoint
from wmgym.env import DreamEnv
from wmgym.errors import CheckpointError
from wmgym.vector_env import DreamVectorEnv


def make_dream(*, checkpoint: str | Path | Checkpoint | None = None, **kwargs: Any) -> DreamEnv:
    """Return one dream.

    Args:
        checkpoint: Folder, Hugging Face Hub id or open checkpoint.
        **kwargs: As `DreamEnv` has them.

    Raises:
        CheckpointError: No checkpoint is named, or as `DreamEnv` raises it.
    """
    return DreamEnv(checkpoint=_named(checkpoint), **kwargs)


def make_dreams(
    num_envs: int = 1, *, checkpoint: str | Path | Checkpoint | None = None, **kwargs: Any
) -> DreamVectorEnv:
    """Return many dreams at once.

    Args:
        num_envs: How many.
        checkpoint: Folder, Hugging Face Hub id or open checkpoint.
        **kwargs: As `DreamVectorEnv` has them.

    Raises:
        CheckpointError: No checkpoint is named, or as `DreamVectorEnv` raises it.
    """
    return DreamVectorEnv(num_envs=num_envs, checkpoint=_named(checkpoint), **kwargs)


def _named(checkpoint: str | Path | Checkpoint | None) -> str | Path | Checkpoint:
    """Return the checkpoint, or say how to make one."""
    if checkpoint is None:
        raise CheckpointError(
            "LSSVWM-Minecraft-v0 given without a checkpoint, expected one: none of Minecraft ships with wmgym. Fix: "
            "train one on recordings, such as MineRL's data set or what you record of wmgym/MineRL-v0, kept apart for "
            "training and for validation,\n"
            "    python experiments/train_tokenizer.py --recordings DATA/train --validation DATA/validation "
            "--output runs/minecraft_tokenizer\n"
            "    python experiments/train_world_model.py --recordings DATA/train --validation DATA/validation "
            "--tokenizer runs/minecraft_tokenizer --output runs/minecraft\n"
            'and pass it: gymnasium.make("LSSVWM-Minecraft-v0", checkpoint="runs/minecraft/checkpoint").'
        )
    return checkpoint
