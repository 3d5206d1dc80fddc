"""Pictures of a comparison of worlds: learning curve, returns with their intervals, a dream beside reality."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw


def plot_learning_and_returns(metrics: dict[str, Any], path: Path) -> None:
    """Draw the learning curve, and imagined beside real returns with their intervals.

    Args:
        metrics: What `compare_worlds` returned, and under "training" steps, horizon and curve of the training.
        path: Of the picture; its ending says of which kind.
    """
    training, policies = metrics["training"], metrics["policies"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([p["steps"] for p in training["curve"]], [p["return"] for p in training["curve"]])
    left.set(xlabel="steps in dreams", ylabel=f"return of {training['horizon']} steps", title="PPO in dreams")
    for i, world in enumerate(("imagined", "real")):
        found = [row[world] for row in policies if world in row]
        means = np.array([row["mean"] for row in found])
        errors = np.abs(np.array([row["ci95"] for row in found]).reshape(-1, 2).T - means)
        right.bar(np.arange(len(found)) + 0.4 * i, means, 0.38, yerr=errors, capsize=4, label=world)
    right.set(xticks=[0.2, 1.2], xticklabels=[row["name"] for row in policies], title="evaluation")
    right.set(ylabel=f"mean return of {policies[0]['imagined']['steps']} steps, 95 % interval")
    right.legend()
    figure.savefig(path, dpi=120)


def side_by_side(real: NDArray[np.uint8], imagined: NDArray[np.uint8], caption: str) -> Image.Image:
    """Return two frames at twice their size, with captions.

    Args:
        real: `[H W c]` uint8, 0 to 255.
        imagined: The same.
        caption: Above the imagined one.
    """
    size = 2 * len(real)
    picture = Image.new("RGB", (2 * size + 4, size + 14), "white")
    for left, frame, text in ((0, real, "real"), (size + 4, imagined, caption)):
        picture.paste(Image.fromarray(frame).resize((size, size), Image.Resampling.NEAREST), (left, 14))
        ImageDraw.Draw(picture).text((left + 2, 1), text, fill="black")
    return picture.quantize(128)
