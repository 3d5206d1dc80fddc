"""Numbers from a command line that are refused before hours are spent on them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Range = tuple[int | float, int | float]
"""The smallest and the largest value allowed; `math.inf` for no bound."""
SEEDS: Range = (0, 2**32 - 1)
"""What numpy's older generators, by which Stable-Baselines3 is seeded, can be seeded with."""


def check_ranges(settings: Any, ranges: Mapping[str, Range], hints: Mapping[str, str] = {}) -> None:
    """Refuse settings outside their ranges; those that are None pass.

    Args:
        settings: Has an attribute for each name.
        ranges: What is allowed, by name.
        hints: By name, a sentence to add to the message.

    Raises:
        ValueError: One is smaller, larger or NaN.
    """
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            expected = f"{low} or more" if high == math.inf else f"{low} to {high}"
            hint = f" {hints[name]}" if name in hints else ""
            raise ValueError(f"--{name.replace('_', '-')} {value} given, expected {expected}.{hint}")


def check_minutes(minutes: float) -> None:
    """Refuse a time to train in which nothing happens.

    Raises:
        ValueError: It is not positive, or not finite.
    """
    if not 0 < minutes < math.inf:
        raise ValueError(
            f"--minutes {minutes} given, expected more than 0. For a short trial, pass a fraction: --minutes 0.1."
        )


def nothing_to_do(seconds: float, minutes: float, steps: int | None = None) -> str | None:
    """Return what to tell when a run has already trained as long as is asked for, or None if it has not.

    Args:
        seconds: Trained so far, over all restarts.
        minutes: To train, over all restarts.
        steps: Trained so far, if it is these that may be over.
    """
    if seconds < minutes * 60:
        return f"nothing to do: {steps} steps are done; raise --steps" if steps else None
    return f"nothing to do: {seconds / 60:.2f} of {minutes:g} minutes are done; raise --minutes"


def check_stages(stages: Sequence[tuple[float, int]]) -> None:
    """Refuse stages of windows that cannot be cut.

    Args:
        stages: (share of the budget until which a stage lasts, frames per window), in order.

    Raises:
        ValueError: There is none, or a window has no frame.
    """
    given = " ".join(f"{until:g} {frames}" for until, frames in stages) or "nothing"
    if not stages or min(frames for _, frames in stages) < 1:
        raise ValueError(
            f"--stages {given} given, expected pairs of a share of the budget and of 1 or more frames per window, "
            "such as --stages 0.6 32 1.0 96. To train on one length only, pass one pair."
        )


def check_windows(stages: Sequence[tuple[float, int]], longest: int) -> None:
    """Refuse, now and not when a stage begins, windows that no episode is long enough for.

    Args:
        stages: (share of the budget until which a stage lasts, frames per window), in order.
        longest: Frames of the longest episode.

    Raises:
        ValueError: A window is longer.
    """
    longest_window = max(frames for _, frames in stages)
    if longest_window > longest:
        raise ValueError(
            f"--stages asks for windows of {longest_window} frames, but the longest episode has {longest}. Record "
            f"longer ones, or pass shorter stages, such as --stages 0.6 {max(1, longest // 4)} 1.0 {longest}."
        )


def say_short(
    stages: Sequence[tuple[float, int]], names: Sequence[str], lengths: Sequence[int], say: Callable[[str], object]
) -> None:
    """Tell how many episodes are too short for the windows of a stage, and are not trained on then.

    Args:
        stages: (share of the budget until which a stage lasts, frames per window), in order.
        names: Of the episodes.
        lengths: Their frames.
        say: Told so, if there are any.
    """
    for frames in sorted({frames for _, frames in stages}):
        short = [f"{name} ({length})" for name, length in zip(names, lengths, strict=True) if length < frames]
        if short:
            say(
                f"{len(short)} of {len(names)} episodes are shorter than a window of {frames} frames and not trained "
                f"on while windows have so many: {', '.join(short[:5])}{', ...' if len(short) > 5 else ''}"
            )


def check_dream_steps(steps: Iterable[int], most: int) -> None:
    """Refuse denoising steps of training dreams that the network has no sampler for.

    Args:
        steps: What to draw from.
        most: The network's finest sampler.

    Raises:
        ValueError: There is none, or one is not a power of two between 1 and `most`.
    """
    given = list(steps)
    if not given:
        raise ValueError("--dream-steps given without a number, expected one or more, such as --dream-steps 1 2 4.")
    from model.sampler import check_denoising_steps  # only now: it imports torch, which recording does without

    for number in given:
        try:
            check_denoising_steps(number, most)
        except ValueError as error:
            raise ValueError(f"--dream-steps {' '.join(map(str, given))} given: {error}") from error


def check_backwards(share: float, origin: int, conditioning: str) -> None:
    """Refuse windows that are walked backwards by a model of actions, and origins of poses that it does not have.

    Args:
        share: Of the windows.
        origin: Frames before a window to which poses may be relative.
        conditioning: "action" or "pose".

    Raises:
        ValueError: There is a share or an origin, and no pose.
    """
    if origin and conditioning != "pose":
        raise ValueError(
            f"--pose-origin {origin} given with --conditioning {conditioning}, expected 0: such a model has no poses."
        )
    if share and conditioning != "pose":
        raise ValueError(
            f"--there-and-back {share:g} given with --conditioning {conditioning}, expected 0: no action leads a "
            "recording backwards, poses do. Pass --conditioning pose, or record walks there and back."
        )


def check_mode(mode: str, steppable: bool, backbone: str) -> None:
    """Refuse to train on a remembered past what has none.

    Args:
        mode: Of `model.diffusion`.
        steppable: Whether the network looks back only.
        backbone: Its name.

    Raises:
        ValueError: It sees later frames, and the mode is not `diffusion_forcing`.
    """
    if not steppable and mode != "diffusion_forcing":
        raise ValueError(
            f"--mode {mode} given with --backbone {backbone}, which sees later frames: beside a clean past it would "
            "see the answer. Pass --mode diffusion_forcing."
        )


def check_start(start_from: Path | None, transfer: bool, keep_layers: Sequence[int] = ()) -> None:
    """Refuse weights to start with that are nowhere.

    Args:
        start_from: The checkpoint to take them from, if any.
        transfer: Whether it is of another world.
        keep_layers: Which of its layers to take, if not all.

    Raises:
        ValueError: There is no such folder, a transfer or layers from none, or layers of another world.
    """
    if keep_layers and (start_from is None or transfer):
        raise ValueError(
            f"--keep-layers {' '.join(map(str, keep_layers))} given {'with --transfer' if transfer else 'alone'}, "
            "expected it with --start-from CHECKPOINT and without --transfer: it says which layers of that checkpoint "
            "the new network starts as."
        )
    if transfer and start_from is None:
        raise ValueError(
            "--transfer given without --start-from, expected both: pass the checkpoint of the other world, such as "
            "--transfer --start-from runs/memory/1200-steps/lssvwm-0/checkpoint."
        )
    if start_from is not None and not start_from.is_dir():
        raise ValueError(
            f"--start-from {start_from} given, expected the folder of a checkpoint; there is no such folder. Check the "
            "path: it is RUN/checkpoint of a run of train_world_model.py."
        )
