"""The picture of the benchmark of steps: speed against batch, and what a denoising step costs."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot_speed(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw steps a second of dreams in pixels, over batches and over denoising steps, with what they compete with.

    Args:
        rows: Of the benchmark of steps.
        path: Of the picture; its ending says of which kind.
    """
    dreams = [row for row in rows if row["system"] == "dream" and row["observation"] == "pixels"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, key, name in zip(figure.subplots(1, 2), ("batch", "denoising_steps"), ("dreams", "steps"), strict=True):
        other = "denoising_steps" if key == "batch" else "batch"
        for engine in dict.fromkeys(row["engine"] for row in dreams):
            found = [row for row in dreams if row["engine"] == engine]
            line = max(([r for r in found if r[other] == v] for v in {r[other] for r in found}), key=len)
            line.sort(key=lambda row: row[key])
            axes.plot([r[key] for r in line], [r["steps_per_s"] for r in line], marker="o", label=f"dream, {engine}")
        for system, style in (("stock_maze", "--"), ("wmgym_maze", "-."), ("unet_env", ":")):
            speeds = [row["steps_per_s"] for row in rows if row["system"] == system]
            if speeds:
                axes.axhline(max(speeds), color="grey", linestyle=style, label=system)
        axes.set(xscale="log", yscale="log", xlabel=f"{key.replace('_', ' ')}", ylabel="steps a second, pixels")
        axes.set_xticks(sorted({row[key] for row in dreams}), [str(v) for v in sorted({row[key] for row in dreams})])
        axes.minorticks_off()
        axes.set_title(f"over {name}")
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=120)
