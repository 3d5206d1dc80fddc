"""Pictures of a comparison of worlds: learning curve, returns with their intervals, a dream beside reality."""

import textwrap
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from agents.comparison import said_steps
from agents.interfaces import Policy

COLOURS = {
    "lssvwm": "black", "mamba2": "tab:purple", "mamba2_local": "tab:pink", "causal": "tab:blue",
    "causal_window": "tab:orange", "dfot": "tab:olive", "videossm": "tab:green", "lssvwm_block1": "tab:brown",
    "lssvwm_no_clean": "tab:red", "lssvwm, scan cleared": "black",
}  # fmt: skip
DASHED = {"lssvwm, scan cleared": ":", "last frame": "-.", "mean frame": ":", "nearest by pose": "--", "tokenizer": "-"}


def line_of(name: str) -> dict[str, Any]:
    """Return how the line of a system is drawn: alike in every plot; grey for what no model of time is needed for."""
    width = 2.5 if name == "lssvwm" else 1.5
    return {"color": COLOURS.get(name, "silver"), "linestyle": DASHED.get(name, "-"), "linewidth": width}


def plot_learning_and_returns(metrics: dict[str, Any], path: Path) -> None:
    """Draw the learning curve, and imagined beside real returns with their intervals.

    Args:
        metrics: What `compare_worlds` returned, and under "training" steps, horizon and curve of the training.
        path: Of the picture; its ending says of which kind.
    """
    training, policies = metrics["training"], metrics["policies"]
    figure = Figure(figsize=(6 + 1.4 * len(policies), 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(5, 1.4 * len(policies)))
    curve = training["curve"]
    left.plot([p["steps"] for p in curve], [p["return"] for p in curve], marker="." if len(curve) < 10 else None)
    left.xaxis.set_major_locator(MaxNLocator(5))
    left.set(xlabel="steps in dreams", ylabel=f"return of {training['horizon']} steps", title="learning in dreams")
    worlds = [world for world in ("imagined", "real") if any(world in row for row in policies)]
    for i, world in enumerate(worlds):
        found = [row[world] for row in policies if world in row]
        means = np.array([row["mean"] for row in found])
        errors = np.abs(np.array([row["ci95"] for row in found]).reshape(-1, 2).T - means)
        right.bar(np.arange(len(found)) + 0.4 * i, means, 0.38, yerr=errors, capsize=4, label=world)
    places, names = (
        np.arange(len(policies)) + 0.2 * (len(worlds) - 1),
        [textwrap.fill(row["name"], 16) for row in policies],
    )
    right.set(xticks=places, xticklabels=names, title="evaluation")
    right.set(ylabel=f"mean return of {said_steps(policies)}, 95 % interval")
    right.legend()
    figure.savefig(path, dpi=120)


def side_by_side(
    real: NDArray[np.uint8], imagined: NDArray[np.uint8], caption: str, real_caption: str = "real"
) -> Image.Image:
    """Return two frames at twice their size, with captions.

    Args:
        real: `[H W c]` uint8, 0 to 255.
        imagined: The same.
        caption: Above the imagined one.
        real_caption: Above the other one.
    """
    size = 2 * len(real)
    picture = Image.new("RGB", (2 * size + 4, size + 14), "white")
    for left, frame, text in ((0, real, real_caption), (size + 4, imagined, caption)):
        picture.paste(Image.fromarray(frame).resize((size, size), Image.Resampling.NEAREST), (left, 14))
        ImageDraw.Draw(picture).text((left + 2, 1), text, fill="black")
    return picture.quantize(128)


def record(
    env: gymnasium.Env[Any, Any], policy: Policy, count: int, *, seed: int
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Let a policy act, and return so many rendered frames and the action that led to each; the first means nothing.

    They are fewer if the episode is over before, and never less than two.
    """
    observation, _ = env.reset(seed=seed)
    frames: list[Any] = [env.render()]
    actions: list[Any] = []
    while len(frames) < max(count, 2):
        actions.append(np.asarray(policy.act(observation[None], np.array([not actions])))[0])
        observation, _, terminated, truncated, _ = env.step(actions[-1])
        frames.append(env.render())
        if terminated or truncated:
            break
    return np.stack(frames), np.stack([np.zeros_like(actions[0]), *actions])


def dream_on(
    env: gymnasium.Env[Any, Any],
    frames: NDArray[np.uint8],
    actions: NDArray[Any],
    *,
    context: int,
    seed: int,
    path: Path,
) -> None:
    """Save a film of a dream beside the reality it goes on from.

    Args:
        env: Dreams; shows pixels.
        frames: `[t H W c]` real frames.
        actions: `[t]`, the action that led to each.
        context: After so many frames the dream is on its own.
        seed: Of the dream.
        path: Of the gif.
    """
    env.reset(seed=seed, options={"context": {"frames": frames[:context], "actions": actions[:context]}})
    pictures = [side_by_side(frame, frame, "real, to start from") for frame in frames[:context]]
    for frame, action in zip(frames[context:], actions[context:], strict=True):
        imagined, _, terminated, *_ = env.step(action)
        pictures.append(side_by_side(frame, imagined, "dream"))
        if terminated:
            break
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=125, loop=0)
