"""The picture of imagined against real: a point a policy, and how the gap grows with the steps of an episode."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def plot_agreement(report: dict[str, Any], path: Path) -> None:
    """Draw every policy's real over its imagined return with 95 % intervals, and the gap against the horizon.

    Args:
        report: What `agreement` returned.
        path: Of the picture; its ending says of which kind.
    """
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_policies(left, report)
    _draw_gap(right, report["gap_by_horizon"])
    figure.savefig(path, dpi=120)


def _draw_policies(axes: Axes, report: dict[str, Any]) -> None:
    rows = sorted(report["policies"], key=lambda row: -row["real"]["mean"])
    for i, row in enumerate(rows):
        x, y = (row[world]["mean"] for world in ("imagined", "real"))
        across, up = (
            np.abs(np.subtract(row[world]["ci95"], row[world]["mean"]))[:, None] for world in ("imagined", "real")
        )
        marker = "osD^v"[i // 10 % 5]
        axes.errorbar(x, y, up, across, fmt=marker, color=f"C{i % 10}", capsize=2, label=row["name"])
    ends = [end for row in rows for world in ("imagined", "real") for end in row[world]["ci95"]]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color="grey", linestyle="--", zorder=0, label="equal")
    steps = report["gap_by_horizon"][-1]["steps"]
    axes.set(xlabel=f"imagined return of {steps} steps, 95 % interval", ylabel=f"real return of {steps} steps")
    told = {"Pearson r": report["pearson_r"], "Spearman": report["spearman"], "MMRV": report["mmrv"]}
    axes.set_title(", ".join(f"{name} {'undefined' if v is None else f'{v:.2f}'}" for name, v in told.items()))
    axes.legend(fontsize="x-small")


def _draw_gap(axes: Axes, rows: list[dict[str, Any]]) -> None:
    steps = [row["steps"] for row in rows]
    gaps = np.array([[policy["imagined"] - policy["real"] for policy in row["policies"]] for row in rows])
    axes.plot(steps, gaps, color="silver", linewidth=1, label=["each policy"] + ["_"] * (gaps.shape[1] - 1))
    for key, colour, name in (("bias", "black", "mean gap"), ("mae", "tab:red", "mean absolute error")):
        axes.plot(steps, [row[key] for row in rows], color=colour, marker="o", label=name)
        low, high = np.array([row["ci95"][key] for row in rows]).T
        axes.fill_between(steps, low, high, color=colour, alpha=0.15)
    axes.axhline(0, color="grey", linestyle="--", zorder=0)
    axes.set(xlabel="steps of an episode, until which returns count", ylabel="imagined less real return")
    axes.set_title("gap against horizon, 95 % interval over episodes")
    axes.legend(fontsize="x-small")
