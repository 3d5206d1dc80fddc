"""Actions as the network takes them: whole numbers, or vectors of floats in the environment's units.

Where no action led to the frame stands `START_ACTION` among whole numbers, and a vector of NaN among vectors.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from model.axes import START_ACTION, Actions
from model.config import LSSVWMConfig


def no_actions(config: LSSVWMConfig, batch: int, frames: int, device: torch.device | None = None) -> Actions:
    """What stands where no action led to the frame, `[b t]` or `[b t a]`.

    Args:
        config: says which kind of actions.
        batch: rows.
        frames: of each row.
        device: where to.
    """
    if config.action_size:
        return torch.full((batch, frames, config.action_size), torch.nan, device=device)
    return torch.full((batch, frames), START_ACTION, device=device)


def led_nowhere(actions: Actions) -> Bool[Tensor, "b t"]:
    """Which frames no action led to."""
    nowhere: Tensor = actions.isnan().any(-1) if actions.is_floating_point() else actions == START_ACTION
    return nowhere


def without_first(actions: Actions) -> Actions:
    """The same but for the first of each row, which becomes none."""
    none = torch.nan if actions.is_floating_point() else START_ACTION
    return torch.cat([torch.full_like(actions[:, :1], none), actions[:, 1:]], dim=1)


def filled(actions: Actions, value: int) -> Int[Tensor, "b t"]:
    """A whole number for each frame that has an action, on the same device."""
    return torch.full(actions.shape[:2], value, dtype=torch.int64, device=actions.device)


def random_actions(config: LSSVWMConfig, batch: int, frames: int, generator: torch.Generator) -> Actions:
    """Uniform draws of what can be done, on the generator's device.

    Args:
        config: says what can be done.
        batch: rows.
        frames: of each row.
        generator: consumed.
    """
    device = generator.device
    if not config.action_size:
        return torch.randint(0, config.num_actions, (batch, frames), generator=generator, device=device)
    low, high = (torch.tensor(v, device=device) for v in (config.action_low, config.action_high))
    return torch.lerp(low, high, torch.rand(batch, frames, config.action_size, generator=generator, device=device))


def check_actions(actions: Tensor, config: LSSVWMConfig) -> None:
    """Refuses actions that the network was not made for; of poses it does not look at them.

    Raises:
        ValueError: they are of the other kind, of another size, out of range, or NaN in part.
    """
    size = config.action_size
    if config.pose_size and actions.is_floating_point():
        return
    if actions.shape[2:] != ((size,) if size else ()) or actions.is_floating_point() != (size > 0):
        expected = f"floats [b t {size}]" if size else "whole numbers [b t]"
        raise ValueError(
            f"actions {actions.dtype} {tuple(actions.shape)} given, expected {expected}. Likely cause: a model of "
            "discrete actions given continuous ones, or the reverse."
        )
    if size:
        _check_vectors(actions, config)
    elif bool(((actions < START_ACTION) | (actions >= config.num_actions)).any()):
        raise ValueError(
            f"actions between {int(actions.min())} and {int(actions.max())} given, expected 0 to "
            f"{config.num_actions - 1}, or {START_ACTION} where no action led to the frame."
        )


def _check_vectors(actions: Tensor, config: LSSVWMConfig) -> None:
    low, high = (actions.new_tensor(v) for v in (config.action_low, config.action_high))
    fits = ((actions >= low) & (actions <= high)).all(-1) | actions.isnan().all(-1)
    if not bool(fits.all()):
        wrong = actions[~fits][0].tolist()
        raise ValueError(
            f"the action {wrong} given, expected numbers from {list(config.action_low)} to "
            f"{list(config.action_high)}, or NaN in all where no action led to the frame. Fix: clip actions "
            "(gymnasium.wrappers.ClipAction)."
        )
