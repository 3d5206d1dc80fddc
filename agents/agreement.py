"""How well the imagined and the real returns of many policies agree: measures, intervals, ranges.

All measures are of mean returns, a pair a policy, and take any number of such sets at once: the last axis is that of
policies.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from agents.evaluate import RESAMPLES

Means = Float64[np.ndarray, "*sets policies"]
Found = Float64[np.ndarray, "*sets"]


def pearson(imagined: Means, real: Means) -> Found:
    """Return the linear correlation of imagined and real returns; NaN where one of them is the same for all."""
    x, y = (each - each.mean(-1, keepdims=True) for each in (imagined, real))
    defined = varies(imagined) & varies(real)
    norm = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return np.asarray(np.clip((x * y).sum(-1) / np.where(defined, norm, np.nan), -1, 1))


def spearman(imagined: Means, real: Means) -> Found:
    """Return the correlation of ranks, those of equal returns averaged; NaN where all are equal."""
    return pearson(ranks(imagined), ranks(real))


def ranks(returns: Means) -> Means:
    """Return the rank of each return, from 1 on; equal ones share the mean of theirs."""
    other, one = returns[..., None, :], returns[..., :, None]
    below, equal = (other < one).sum(-1), (other == one).sum(-1)
    return np.asarray(below + (equal + 1) / 2)


def mmrv(imagined: Means, real: Means) -> Found:
    """Return the mean maximum rank violation: the real return at stake, at worst, where the dream misorders a policy.

    `mean_i max_j |real_i - real_j| * [(imagined_i < imagined_j) != (real_i < real_j)]`. A tie in reality costs
    nothing; one in the dream alone counts for the policy that is worse in reality, and not for the better one.

    Source: X. Li et al., Evaluating real-world robot manipulation policies in simulation, arXiv:2405.05941.
    """
    misordered = (imagined[..., :, None] < imagined[..., None, :]) != (real[..., :, None] < real[..., None, :])
    return np.asarray((np.abs(real[..., :, None] - real[..., None, :]) * misordered).max(-1).mean(-1))


def mean_absolute_error(imagined: Means, real: Means) -> Found:
    """Return by how much imagined returns miss real ones, on average over policies."""
    return np.asarray(np.abs(imagined - real).mean(-1))


def bias(imagined: Means, real: Means) -> Found:
    """Return by how much imagined returns exceed real ones, on average over policies."""
    return np.asarray((imagined - real).mean(-1))


def regret_at_1(imagined: Means, real: Means) -> Found:
    """Return the real return lost by taking the policy that is best in dreams; the mean of those that are, if several.

    It is the best policy's real return less that one's.
    """
    chosen = imagined == imagined.max(-1, keepdims=True)
    return np.asarray(real.max(-1) - (real * chosen).sum(-1) / chosen.sum(-1))


MEASURES: dict[str, Callable[[Any, Any], NDArray[np.float64]]] = {
    "pearson_r": pearson, "spearman": spearman, "mmrv": mmrv, "mae": mean_absolute_error, "bias": bias,
    "regret_at_1": regret_at_1,
}  # fmt: skip


def measures(imagined: Float64[np.ndarray, " policies"], real: Float64[np.ndarray, " policies"]) -> dict[str, Any]:
    """Return every measure of one set of mean returns, by name; None where one is undefined."""
    return {name: _number(measure(imagined, real)) for name, measure in MEASURES.items()}


def intervals(
    imagined: Float64[np.ndarray, "policies dreams"],
    real: Float64[np.ndarray, "policies episodes"],
    *,
    other_policies: bool = False,
    seed: int = 0,
) -> dict[str, list[float] | None]:
    """Return the 95 % bootstrap interval of every measure; None where it is undefined in each resample.

    Args:
        imagined: Returns.
        real: Likewise.
        other_policies: Draw policies anew, too, and not episodes alone. Resamples in which a measure is undefined,
            such as those of a single policy, are left out of its interval.
        seed: Fixes the resamples.
    """
    rng = np.random.default_rng(seed)
    means = [_resampled(rng, returns) for returns in (imagined, real)]
    if other_policies:
        drawn = rng.integers(len(real), size=(RESAMPLES, len(real)))
        means = [np.take_along_axis(each, drawn, axis=1) for each in means]
    found = {name: measure(*means) for name, measure in MEASURES.items()}
    kept = {name: values[np.isfinite(values)] for name, values in found.items()}
    return {name: np.percentile(values, [2.5, 97.5]).tolist() if len(values) else None for name, values in kept.items()}


def drop_one(
    names: Sequence[str], imagined: Float64[np.ndarray, " policies"], real: Float64[np.ndarray, " policies"]
) -> dict[str, Any]:
    """Return the range of every measure when one policy is left out, and without whom it is lowest and highest.

    Args:
        names: Of the policies.
        imagined: Mean returns, one a policy.
        real: Likewise.

    Returns:
        By measure `{"range": [low, high], "without": [name, name]}`; None where it is always undefined.
    """
    others = np.array([[j for j in range(len(names)) if j != i] for i in range(len(names))])
    report: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        values = measure(imagined[others], real[others])
        ends = [] if np.isnan(values).all() else [int(np.nanargmin(values)), int(np.nanargmax(values))]
        ranged = {"range": [float(values[i]) for i in ends], "without": [names[i] for i in ends]}
        report[name] = ranged if ends else None
    return report


def _resampled(rng: np.random.Generator, returns: Float64[np.ndarray, "policies episodes"]) -> NDArray[np.float64]:
    """Return mean returns `[resamples policies]` of episodes drawn anew, the same for all policies."""
    count = returns.shape[1]
    times_drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.asarray(times_drawn @ returns.T / count)


def varies(values: Means) -> NDArray[np.bool_]:
    """Say where returns differ by more than rounding."""
    return np.asarray(np.ptp(values, axis=-1) > 1e-12 * np.abs(values).max(-1))


def _number(value: NDArray[np.float64]) -> float | None:
    return float(value) if np.isfinite(value) else None
