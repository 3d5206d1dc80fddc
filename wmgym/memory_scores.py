"""Memory tasks scored: errors by how long ago a place was seen, and which of two systems remembers better."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from wmgym.memory_tasks import NEVER, MemoryTask
from wmgym.picture_metrics import PEAK_PSNR, Frames, crop, lpips, psnr_of, squared_error, ssim

Numbers = NDArray[np.float64]
BOOTSTRAPS = 2000
AGE_BIN = 60
"""Frames behind a point of a curve, at least."""
ENOUGH_RUNS = 3
"""With fewer an interval hardly knows how much trainings of one system differ, and nothing counts as shown."""


def score(
    task: MemoryTask, dreamed: Frames, border: int = 0, perceptual: nn.Module | None = None
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
        perceptual: Measure LPIPS, too, by this network (`wmgym.picture_metrics.load_lpips`).
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
    if perceptual is not None:
        values["lpips"] = float(lpips(real, dreamed, perceptual).mean())
    return values, error


def _at_age(error: Numbers, age: int) -> dict[str, Any]:
    return {"age": age, "psnr": psnr_of(error), "frames": int(error.size)}


def psnr_interval(runs: Sequence[Numbers], seed: int = 0) -> tuple[float, float]:
    """Return a 95 % interval of the PSNR of the average error, by drawing runs, and episodes within them, anew.

    Of a single run it tells how much episodes differ, and nothing of how much trainings do.

    Args:
        runs: By run, `(episodes, ...)` squared errors, NaN where none counts; clips of one episode are alike and stay
            together.
        seed: Fixes the draws.
    """
    low, high = np.percentile(_redrawn(runs, seed), (2.5, 97.5))
    return float(low), float(high)


def pooled(runs: Sequence[Numbers], seed: int = 0) -> dict[str, Any]:
    """Return the PSNR of the error of all runs together, its 95 % interval, and how many runs there are.

    Args:
        runs: By run, `(episodes, ...)` squared errors, NaN where none counts.
        seed: Fixes the draws.
    """
    return {"psnr": psnr_of(_counted(runs)), "ci95": list(psnr_interval(runs, seed)), "runs": len(runs)}


def compare(better: Sequence[Numbers], worse: Sequence[Numbers], seed: int = 0) -> dict[str, Any]:
    """Return by how many dB one system is ahead of another, with a 95 % interval.

    It counts as shown where the interval excludes 0 and there are at least `ENOUGH_RUNS` runs of each.

    Args:
        better: By run, `(episodes, ...)` squared errors of the one that is expected to be ahead.
        worse: The same of the other, on the same clips.
        seed: Fixes the draws; episodes are drawn alike for both.
    """
    low, high = np.percentile(_redrawn(better, seed) - _redrawn(worse, seed), (2.5, 97.5))
    ahead = psnr_of(_counted(better)) - psnr_of(_counted(worse))
    counts = [len(better), len(worse)]
    shown = bool(low > 0) and min(counts) >= ENOUGH_RUNS
    return {"db": ahead, "ci95": [float(low), float(high)], "shown": shown, "runs": counts}


def age_curve(rows: Sequence[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Return mean ages and PSNR of the average error of neighbouring ages, `AGE_BIN` frames or more behind each point.

    Args:
        rows: Of one system and task, as `score` gives them.
    """
    at = sorted((found["age"], 10 ** (-found["psnr"] / 10), found["frames"]) for row in rows for found in row["by_age"])
    bins: list[list[tuple[int, float, int]]] = []
    for _, same_age in groupby(at, key=itemgetter(0)):
        if not bins or sum(frames for *_, frames in bins[-1]) >= AGE_BIN:
            bins.append([])
        bins[-1] += same_age
    if len(bins) > 1 and sum(frames for *_, frames in bins[-1]) < AGE_BIN:
        bins[-2] += bins.pop()
    points = np.array([np.sum([(a * n, e * n, n) for a, e, n in held], axis=0) for held in bins]).reshape(-1, 3)
    return (points[:, 0] / points[:, 2]).tolist(), (-10 * np.log10(points[:, 1] / points[:, 2])).tolist()


def _redrawn(runs: Sequence[Numbers], seed: int) -> Numbers:
    """PSNR of episodes drawn with replacement from runs drawn with replacement, many times over.

    Episodes are drawn first: with the same seed two systems get the same ones.
    """
    errors = np.stack([run.reshape(len(run), -1) for run in runs])
    sums, counts = np.nansum(errors, -1), (~np.isnan(errors)).sum(-1)
    draws = []
    for i in range(BOOTSTRAPS):
        rng = np.random.default_rng([seed, i])
        episodes = rng.integers(sums.shape[1], size=sums.shape[1])
        drawn = rng.integers(len(sums), size=len(sums))[:, None], episodes
        if counts[drawn].any():  # episodes in which nothing counts tell nothing
            draws.append(psnr_of(sums[drawn].sum() / counts[drawn].sum()))
    return np.array(draws)


def _counted(runs: Sequence[Numbers]) -> Numbers:
    errors = np.stack(runs)
    return errors[~np.isnan(errors)]
