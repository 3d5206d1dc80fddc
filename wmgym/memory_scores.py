"""Memory tasks scored: errors by how long ago a place was seen, and which of two systems remembers better."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.memory_tasks import NEVER, MemoryTask
from wmgym.picture_metrics import PEAK_PSNR, Frames, crop, lpips, psnr_of, squared_error, ssim

Numbers = NDArray[np.float64]
BOOTSTRAPS = 2000
AGE_BIN = 60
"""Frames behind a point of a curve, at least; the last point has what is left."""
ENOUGH_RUNS = 3
"""With fewer an interval hardly knows how much trainings of one system differ, and nothing counts as shown."""


def score(
    task: MemoryTask, dreamed: Frames, border: int = 0, with_lpips: bool = False
) -> tuple[dict[str, Any], Numbers]:
    """Return what a dream of the task scores, and the squared error of each frame.

    `psnr` is that of the squared error averaged over frames and clips, `mean_psnr` the average of the frames' PSNR.
    `revisited` are frames of which place and direction were shown, `turned` those of places shown in another direction
    only, `new` the rest. `by_age` is by frames since a place was last shown, with the `frames` behind each number;
    `by_frame` by frames since the last that was shown.

    Args:
        task: What was to be dreamed.
        dreamed: `(clips, generated, H, W, 3)` What was.
        border: Pixels on each side that do not count, as nothing says what they should show.
        with_lpips: Measure the perceptual distance, too.

    Raises:
        DependencyError: It cannot be measured here.
    """
    real, dreamed = crop(task.truth, border), crop(dreamed, border)
    error = squared_error(real, dreamed)
    seen = task.last_seen != NEVER
    kinds = {"revisited": seen, "turned": ~seen & task.stood_there, "new": ~seen & ~task.stood_there}
    values: dict[str, Any] = {
        "psnr": psnr_of(error),
        "mean_psnr": float(np.minimum(-10 * np.log10(error), PEAK_PSNR).mean()),
        "ssim": float(ssim(real, dreamed).mean()),
        **{f"psnr_{kind}": psnr_of(error[which]) if which.any() else None for kind, which in kinds.items()},
        **{kind: int(which.sum()) for kind, which in kinds.items()},
        "by_age": [_at_age(error[task.last_seen == age], age) for age in sorted(set(task.last_seen[seen].tolist()))],
        "by_frame": [psnr_of(error[:, i]) for i in range(error.shape[1])],
    }
    if with_lpips:
        values["lpips"] = float(lpips(real, dreamed).mean())
    return values, error


def _at_age(error: Numbers, age: int) -> dict[str, Any]:
    return {"age": age, "psnr": psnr_of(error), "frames": int(error.size)}


def psnr_interval(runs: Sequence[Numbers], seed: int = 0) -> tuple[float, float]:
    """Return a 95 % interval of the PSNR of the average error, by drawing runs, and episodes within them, anew.

    Of a single run it tells how much episodes differ, and nothing of how much trainings do.

    Args:
        runs: By run, `(episodes, ...)` squared errors; clips of one episode are alike and stay together.
        seed: Fixes the draws.
    """
    low, high = np.percentile(_redrawn(runs, seed), (2.5, 97.5))
    return float(low), float(high)


def pooled(runs: Sequence[Numbers], seed: int = 0) -> dict[str, Any]:
    """Return the PSNR of the error of all runs together, its 95 % interval, and how many runs there are.

    Args:
        runs: By run, `(episodes, ...)` squared errors.
        seed: Fixes the draws.
    """
    return {"psnr": psnr_of(np.stack(runs)), "ci95": list(psnr_interval(runs, seed)), "runs": len(runs)}


def compare(better: Sequence[Numbers], worse: Sequence[Numbers], seed: int = 0) -> dict[str, Any]:
    """Return by how many dB one system is ahead of another, with a 95 % interval.

    It counts as shown where the interval excludes 0 and there are at least `ENOUGH_RUNS` runs of each.

    Args:
        better: By run, `(episodes, ...)` squared errors of the one that is expected to be ahead.
        worse: The same of the other, on the same clips.
        seed: Fixes the draws; episodes are drawn alike for both.
    """
    low, high = np.percentile(_redrawn(better, seed) - _redrawn(worse, seed), (2.5, 97.5))
    ahead = psnr_of(np.stack(better)) - psnr_of(np.stack(worse))
    counts = [len(better), len(worse)]
    shown = bool(low > 0) and min(counts) >= ENOUGH_RUNS
    return {"db": ahead, "ci95": [float(low), float(high)], "shown": shown, "runs": counts}


def age_curve(rows: Sequence[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Return mean ages and PSNR of the average error of neighbouring ages, `AGE_BIN` frames or more behind each point.

    Args:
        rows: Of one system and task, as `score` gives them.
    """
    at: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for row in rows:
        for found in row["by_age"]:
            at[found["age"]].append((10 ** (-found["psnr"] / 10), found["frames"]))
    ages, values, held = [], [], list[tuple[int, float, int]]()
    for age in sorted(at):
        held += [(age, error, frames) for error, frames in at[age]]
        total = sum(frames for _, _, frames in held)
        if total >= AGE_BIN or age == max(at):
            ages.append(sum(a * frames for a, _, frames in held) / total)
            values.append(-10 * math.log10(sum(error * frames for _, error, frames in held) / total))
            held = []
    return ages, values


def _redrawn(runs: Sequence[Numbers], seed: int) -> Numbers:
    """PSNR of episodes drawn with replacement from runs drawn with replacement, many times over.

    Episodes are drawn first: with the same seed two systems get the same ones.
    """
    means = np.stack([run.reshape(len(run), -1).mean(1) for run in runs])
    draws = []
    for i in range(BOOTSTRAPS):
        rng = np.random.default_rng([seed, i])
        episodes = rng.integers(means.shape[1], size=means.shape[1])
        draws.append(psnr_of(means[rng.integers(len(means), size=len(means))][:, episodes]))
    return np.array(draws)
