"""Presets for frames of another size: the latent grid grows with them, everything else stays."""

from dataclasses import replace

from model.config import WorldModelConfig


def with_frame_size(config: WorldModelConfig, frame_size: int | None) -> WorldModelConfig:
    """Returns the config for frames of so many pixels along each side; tokens grow with their area.

    Args:
        config: a preset.
        frame_size: a multiple of 8 and of 8 times the patch; None for the preset's own.

    Raises:
        ValueError: it is none, or the blocks of the scan do not tile the grid.
    """
    if frame_size is None:
        return config
    tokenizer = replace(config.tokenizer, frame_size=frame_size)
    return WorldModelConfig(tokenizer, replace(config.dynamics, latent_size=tokenizer.latent_size))
