"""Memory tasks scored: errors by how long ago a place was seen, and which of two systems remembers better."""

import math
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import nn

from wmgym.memory_tasks import NEVER, MemoryTask
from wmgym.picture_metrics import PEAK_PSNR, Frames, crop, lpips, psnr_of, squared_error, ssim

Numbers = NDArray[np.float64]
BOOTSTRAPS = 2000
AGE_BIN = 60
"""Frames behind a point of a curve, at least."""
ENOUGH_RUNS = 3
"""With fewer it is hardly known how much trainings of one system differ, and nothing counts as shown."""


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


def pooled(runs: Sequence[Numbers], seed: int = 0) -> dict[str, Any]:
    """Return the PSNR of the error of all runs together, its 95 % interval, and how many runs there are.

    The interval counts how much trainings differ (Student's t on the runs' PSNR) and how much episodes do (drawn anew,
    whole). Of a single run it tells how much episodes differ, and nothing of how much trainings do; of a single
    episode there is none.

    Args:
        runs: By run, `(episodes, ...)` squared errors, NaN where none counts; clips of one episode are alike and stay
            together.
        seed: Fixes the draws.
    """
    found = psnr_of(_counted(runs))
    interval = _interval(found, [_by_run(runs)], _redrawn(runs, seed), len(runs[0]))
    return {"psnr": found, "ci95": interval, "runs": len(runs)}


def compare(better: Sequence[Numbers], worse: Sequence[Numbers], seed: int = 0, paired: bool = False) -> dict[str, Any]:
    """Return by how many dB one system is ahead of another, with a 95 % interval (Welch's t, and episodes drawn anew).

    It counts as shown where the interval excludes 0 and there are at least `ENOUGH_RUNS` runs of each.

    Args:
        better: By run, `(episodes, ...)` squared errors of the one that is expected to be ahead; NaN does not count.
        worse: The same of the other, on the same clips.
        seed: Fixes the draws; episodes are drawn alike for both.
        paired: The runs of both are the same trainings, in one order.
    """
    ahead = psnr_of(_counted(better)) - psnr_of(_counted(worse))
    ours, theirs = _by_run(better), _by_run(worse)
    spread = [ours - theirs] if paired else [ours, theirs]
    interval = _interval(ahead, spread, _redrawn(better, seed) - _redrawn(worse, seed), len(better[0]))
    counts = [len(better), len(worse)]
    shown = interval is not None and interval[0] > 0 and min(counts) >= ENOUGH_RUNS
    return {"db": ahead, "ci95": interval, "shown": shown, "runs": counts}


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
        left = bins.pop()
        bins[-1] += left
    points = np.array([np.sum([(a * n, e * n, n) for a, e, n in held], axis=0) for held in bins]).reshape(-1, 3)
    return (points[:, 0] / points[:, 2]).tolist(), (-10 * np.log10(points[:, 1] / points[:, 2])).tolist()


def _interval(found: float, by_run: Sequence[Numbers], redrawn: Numbers, episodes: int) -> list[float] | None:
    """Return a 95 % interval around what was found.

    Variances of trainings and of episodes add up, and so do, after Welch and Satterthwaite, their degrees of freedom.

    Args:
        found: In the middle.
        by_run: For each system the numbers of its runs; of a single one no variance is known.
        redrawn: What is found where episodes are drawn anew.
        episodes: How many there are; of a single one no variance is known.
    """
    if episodes < 2 or not len(redrawn):
        return None
    parts = [(float(redrawn.var()), episodes - 1)]
    parts += [(float(values.var(ddof=1)) / len(values), len(values) - 1) for values in by_run if len(values) > 1]
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v**2 / n for v, n in parts) if variance else episodes - 1
    reach = float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
    return [found - reach, found + reach]


def _by_run(runs: Sequence[Numbers]) -> Numbers:
    return np.array([psnr_of(_counted([run])) for run in runs])


def _redrawn(runs: Sequence[Numbers], seed: int) -> Numbers:
    """PSNR of all runs with their episodes drawn with replacement, many times over; with one seed the same ones."""
    errors = np.stack([run.reshape(len(run), -1) for run in runs], axis=1)
    sums, counts = np.nansum(errors, (1, 2)), (~np.isnan(errors)).sum((1, 2))
    drawn = np.random.default_rng(seed).integers(len(sums), size=(BOOTSTRAPS, len(sums)))
    drawn = drawn[counts[drawn].any(1)]  # episodes in which nothing counts tell nothing
    return np.asarray(-10 * np.log10((sums[drawn].sum(1) / counts[drawn].sum(1)).clip(10 ** (-PEAK_PSNR / 10))))


def _counted(runs: Sequence[Numbers]) -> Numbers:
    errors = np.stack(runs)
    return errors[~np.isnan(errors)]
