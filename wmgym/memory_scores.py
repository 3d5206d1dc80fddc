"""Memory tasks scored: errors by how long ago a place was seen, and which of two systems remembers better."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmgym.memory_tasks import NEVER, MemoryTask
from wmgym.picture_metrics import Frames, crop, lpips, psnr_of, squared_error, ssim

Numbers = NDArray[np.float64]
BOOTSTRAPS = 2000


def score(
    task: MemoryTask, dreamed: Frames, border: int = 0, with_lpips: bool = False
) -> tuple[dict[str, Any], Numbers]:
    """Return what a dream of the task scores, and the squared error of each frame.

    `psnr` is that of the squared error averaged over frames and clips, `mean_psnr` the average of the frames' PSNR.
    `revisited` and `new` count frames of places that were shown and that were not; `by_age` is by frames since a place
    was last shown, `by_frame` by frames since the last that was shown.

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
    values: dict[str, Any] = {
        "psnr": psnr_of(error),
        "mean_psnr": float(np.minimum(-10 * np.log10(error), 60).mean()),
        "ssim": float(ssim(real, dreamed).mean()),
        "psnr_revisited": psnr_of(error[seen]) if seen.any() else None,
        "psnr_new": psnr_of(error[~seen]) if (~seen).any() else None,
        "revisited": int(seen.sum()),
        "new": int((~seen).sum()),
        "by_age": {
            str(age): psnr_of(error[task.last_seen == age]) for age in sorted(set(task.last_seen[seen].tolist()))
        },
        "by_frame": [psnr_of(error[:, i]) for i in range(error.shape[1])],
    }
    if with_lpips:
        values["lpips"] = float(lpips(real, dreamed).mean())
    return values, error


def psnr_interval(runs: Sequence[Numbers], seed: int = 0) -> tuple[float, float]:
    """Return a 95 % interval of the PSNR of the average error, by drawing runs, and clips within them, anew.

    Args:
        runs: By run, `(clips, ...)` squared errors.
        seed: Fixes the draws.
    """
    low, high = np.percentile(_redrawn(runs, seed), (2.5, 97.5))
    return float(low), float(high)


def compare(better: Sequence[Numbers], worse: Sequence[Numbers], seed: int = 0) -> dict[str, Any]:
    """Return by how many dB one system is ahead of another, with a 95 % interval and whether that excludes 0.

    Args:
        better: By run, `(clips, ...)` squared errors of the one that is expected to be ahead.
        worse: The same of the other, on the same clips.
        seed: Fixes the draws; clips are drawn alike for both.
    """
    low, high = np.percentile(_redrawn(better, seed) - _redrawn(worse, seed), (2.5, 97.5))
    ahead = psnr_of(np.stack(better)) - psnr_of(np.stack(worse))
    return {"db": ahead, "ci95": [float(low), float(high)], "shown": bool(low > 0), "runs": [len(better), len(worse)]}


def _redrawn(runs: Sequence[Numbers], seed: int) -> Numbers:
    """PSNR of clips drawn with replacement from runs drawn with replacement, many times over.

    Clips are drawn first: with the same seed two systems get the same ones.
    """
    means = np.stack([run.reshape(len(run), -1).mean(1) for run in runs])
    draws = []
    for i in range(BOOTSTRAPS):
        rng = np.random.default_rng([seed, i])
        clips = rng.integers(means.shape[1], size=means.shape[1])
        draws.append(psnr_of(means[rng.integers(len(means), size=len(means))][:, clips]))
    return np.array(draws)
