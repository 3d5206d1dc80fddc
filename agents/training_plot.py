"""The picture of how fast training is: frames a second over windows, and where a step goes."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def plot_training(metrics: dict[str, Any], path: Path) -> None:
    """Draw frames a second of the world model over windows, and the parts of a step of every row.

    Args:
        metrics: Of the benchmark of training.
        path: Of the picture; its ending says of which kind.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for precision in metrics["rates"]:
        found = [row for row in metrics["rows"] if row["window"] and row["precision"] == precision]
        left.plot([r["window"] for r in found], [r["frames_per_s"] for r in found], marker="o", label=precision)
    left.set(xscale="log", xlabel="frames of a window", ylabel="frames a second", title="world model")
    windows = sorted({row["window"] for row in metrics["rows"] if row["window"]})
    left.set_xticks(windows, [str(window) for window in windows])
    left.minorticks_off()
    left.set_ylim(bottom=0)
    left.legend()
    names = [f"{r['model']}, {r['window'] or ''} {r['precision']}".replace(",  ", ", ") for r in metrics["rows"]]
    edge = np.zeros(len(names))
    for part in metrics["rows"][0]["parts"]:
        shares = np.array([100 * row["parts"][part] / row["seconds"] for row in metrics["rows"]])
        right.barh(names, shares, left=edge, label=part)
        edge += shares
    right.invert_yaxis()
    right.set(xlabel="% of a step")
    right.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize="small")
    figure.savefig(path, dpi=120)
