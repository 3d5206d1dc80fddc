"""The report on whether returns measured in dreams can be trusted, from what many policies scored in both worlds."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

from agents.agreement import drop_one, intervals, measures, varies
from agents.comparison import WORLDS, said_steps
from agents.evaluate import Evaluation

LEAST = 3
"""Policies; two are always in line."""
NAMES = {
    "pearson_r": "Pearson r", "spearman": "Spearman rank correlation", "mmrv": "mean maximum rank violation",
    "mae": "mean absolute error", "bias": "imagined less real", "regret_at_1": "regret of the best in dreams",
}  # fmt: skip


def agreement(policies: Mapping[str, Mapping[str, Evaluation]], horizons: Iterable[int] = ()) -> dict[str, Any]:
    """Return how well the imagined and the real returns of policies agree, and how sure that is.

    Two kinds of 95 % intervals, both by the percentile bootstrap of 10,000 resamples. "episodes": for these policies,
    had they met other episodes; episodes are drawn anew in either world, the same ones for all policies, since all
    met the same mazes. "policies_and_episodes": had there been other policies too, drawn like these; with few, it is
    wide. Resampled means are noisier than those measured, so intervals of correlations lie somewhat low, and those of
    errors, regret and rank violation somewhat high.

    Args:
        policies: What each policy scored by world, "imagined" and "real"; all ran the same episodes.
        horizons: Steps after which to compare what has been collected until then; longer than an episode is left out.

    Returns:
        `policies`: a list of `{"name", "imagined", "real"}`, each world summarised. The measures `pearson_r`,
        `spearman`, `mmrv`, `mae`, `bias` (imagined less real) and `regret_at_1`; None where one is undefined.
        `undefined`: why, by measure. `ci95`: by kind, each measure's interval. `drop_one`: each measure's range when
        one policy is left out, and who that is at either end. `real_halves`: the same measures between the even and
        the odd real episodes, each half as many: what a perfect dream could show. `gap_by_horizon`: measures, their
        intervals over episodes, and each policy's two means, by steps. `episode_returns`: by policy and world.

    Raises:
        ValueError: There are fewer than three policies, or they did not run the same episodes.
    """
    check_count(len(policies))
    _check_episodes(policies)
    imagined, real = (np.array([found[world].returns for found in policies.values()]) for world in WORLDS)
    means = imagined.mean(-1), real.mean(-1)
    longest = max(length for found in policies.values() for world in WORLDS for length in found[world].lengths)
    steps = sorted({horizon for horizon in horizons if horizon < longest} | {longest})
    measured = measures(*means)
    return {
        "policies": [
            {"name": name} | {world: found[world].summary() for world in WORLDS} for name, found in policies.items()
        ],
        **measured,
        "undefined": {name: why_undefined(*means) for name, value in measured.items() if value is None},
        "ci95": {
            "episodes": intervals(imagined, real),
            "policies_and_episodes": intervals(imagined, real, other_policies=True),
        },
        "drop_one": drop_one(list(policies), *means),
        "real_halves": measures(real[:, ::2].mean(-1), real[:, 1::2].mean(-1)) if real.shape[1] > 1 else None,
        "gap_by_horizon": [_until(policies, horizon) for horizon in steps],
        "episode_returns": {
            name: {world: list(found[world].returns) for world in WORLDS} for name, found in policies.items()
        },
    }


def check_count(policies: int) -> None:
    """Refuse too few policies to compare.

    Raises:
        ValueError: There are fewer than three.
    """
    if policies < LEAST:
        raise ValueError(
            f"{policies} different policies given, expected {LEAST} or more, better 10: two are always in line. Add "
            "scripted ones, stages of a training, or policies mixed with chance."
        )


def why_undefined(imagined: Float64[np.ndarray, " policies"], real: Float64[np.ndarray, " policies"]) -> str:
    """Say why there is no correlation of these mean returns."""
    same = [world for world, means in zip(WORLDS, (imagined, real), strict=True) if not varies(means)]
    return f"all policies have the same {' and the same '.join(same)} return"


def as_table(report: Mapping[str, Any]) -> str:
    """Return what `agreement` returned as lines to print: policies, best in reality first, then the measures."""
    rows = sorted(report["policies"], key=lambda row: -row["real"]["mean"])
    width = max(len(text) for text in [*NAMES.values(), *(row["name"] for row in rows)]) + 2
    lines = [f"mean return of {said_steps(rows)} [95 % interval], episodes"]
    lines += [" " * width + "".join(f"{world:>30}" for world in WORLDS)]
    lines += [f"{row['name']:{width}}" + "".join(f"{_cell(row[world]):>30}" for world in WORLDS) for row in rows]
    lines += ["", " " * width + "".join(f"{text:>30}" for text in ("[95 %: episodes]", "without one policy"))]
    for key, name in NAMES.items():
        if report[key] is None:
            lines.append(f"{name:{width}}  undefined: {report['undefined'][key]}")
            continue
        sure, dropped = report["ci95"]["episodes"][key], report["drop_one"][key]
        span = f"{dropped['range'][0]:.2f} to {dropped['range'][1]:.2f}" if dropped else "undefined"
        lines.append(f"{name:{width}}{f'{report[key]:.2f} {_interval(sure)}':>30}{span:>30}")
    return "\n".join(lines)


def _cell(summary: Mapping[str, Any]) -> str:
    return f"{summary['mean']:.2f} {_interval(summary['ci95'])}, {summary['episodes']}"


def _interval(ends: list[float] | None) -> str:
    return f"[{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "[undefined]"


def _until(policies: Mapping[str, Mapping[str, Evaluation]], steps: int) -> dict[str, Any]:
    """Return how returns agree that were collected until a step."""
    imagined, real = (np.array([found[world].returns_until(steps) for found in policies.values()]) for world in WORLDS)
    means = imagined.mean(-1), real.mean(-1)
    rows = [
        {"name": name, "imagined": float(dreamed), "real": float(played)}
        for name, dreamed, played in zip(policies, *means, strict=True)
    ]
    return {"steps": steps, **measures(*means), "ci95": intervals(imagined, real), "policies": rows}


def _check_episodes(policies: Mapping[str, Mapping[str, Evaluation]]) -> None:
    longest = {world: max(max(found[world].lengths) for found in policies.values()) for world in WORLDS}
    if len(set(longest.values())) > 1:
        raise ValueError(
            f"episodes of up to {longest['imagined']} steps in dreams and {longest['real']} in reality, expected the "
            "same time limit in both worlds."
        )
    for world in WORLDS:
        ran = {name: (found[world].first_seed, len(found[world].returns)) for name, found in policies.items()}
        (first, (seed, count)), *others = ran.items()
        for name, (its_seed, its_count) in others:
            if (its_seed, its_count) != (seed, count):
                raise ValueError(
                    f"{world}: {name} ran {its_count} episodes from seed {its_seed}, {first} {count} from seed {seed}; "
                    "expected the same episodes. Fix: evaluate all with the same seed and episodes."
                )
