"""Measure what a world model remembers of a maze: probes tell walls and targets from its frozen features.

    python experiments/map_probes.py --recordings recordings/train --test recordings/test

The offline probing benchmark of Memory Maze (arXiv:2210.13383 sections 3.3 and 5); `wmgym/map_probes.py` says what is
published of it and what is our choice. Probes are trained on features of the recordings and scored on other mazes, from
step 500 on. Beside them stand probes of features without memory (each frame is observed from an empty one), two answers
that look at no frame, and the published numbers. Writes `result.json`, `result.md` and a plot.

The published numbers are of walks to random points only; `--walkers random_goal` keeps those of a mixture.
"""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tyro
from tqdm import tqdm

from agents.evaluate import bootstrap_interval
from agents.results import write_result
from model.checkpoint import weights_digest
from model.world_model import WorldModel
from wmgym.arguments import check_ranges
from wmgym.checkpoint import DEFAULT_CHECKPOINT, open_checkpoint
from wmgym.errors import RecordingError
from wmgym.fidelity import read_all, refuse_other_worlds
from wmgym.map_features import extract
from wmgym.map_probes import BATCH, TASKS, Scores, score_constants, score_probes, train_probe
from wmgym.plain_errors import plain_errors
from wmgym.recorded_mazes import Maze, read_maze, refuse_unfit
from wmgym.recording import scan

matplotlib.use("Agg")
from matplotlib import pyplot as plt

BINS = 10  # parts of an episode on the plot
NAMES = {
    "features": "features of this model",
    "without_memory": "its features without memory",
    "constant_position": "majority, mean positions",
    "constant": "constant: majority, mean of where the agent sees the targets",
}
PUBLISHED = {  # arXiv:2210.13383: walls in %, objects in cells
    "9x9": {"constant": (80.8, 4.9), "RSSM (TBTT)": (94.0, 2.5), "supervised oracle": (99.7, 0.5)},
    "15x15": {"constant": (78.3, 8.0), "RSSM (TBTT)": (80.5, 5.8), "supervised oracle": (88.5, 3.0)},
}


@dataclass
class Args:
    """Measure what a world model remembers of a maze."""

    recordings: Path
    """Folder of episodes to train probes on, all of one length."""
    test: Path
    """Folder of held-out episodes to score them on, all of one length."""
    output: Path = Path("runs/map_probes")
    """Folder for result.json, result.md and the plot."""
    checkpoint: Path = DEFAULT_CHECKPOINT
    """Checkpoint folder; the shipped one by default."""
    episodes: int = 200
    """At most this many episodes to train on: more mazes, better probes."""
    test_episodes: int = 24
    """At most this many held-out episodes."""
    walkers: str = ""
    """Use only episodes of walkers whose name begins so, such as random_goal; all by default."""
    every: int = 5
    """Train and score on every so many frames; neighbours hardly differ. All are observed."""
    start: int = 500
    """First step that is scored."""
    steps: int = 2000
    """Optimizer steps of each probe, of 256 frames each."""
    seed: int = 0
    """Fixes weights and batches of the probes."""

    def check(self) -> None:
        """Refuses numbers that leave nothing to train or to score."""
        counts = ("test_episodes", "every", "steps")
        check_ranges(self, dict.fromkeys(counts, (1, math.inf)) | dict.fromkeys(("start", "seed"), (0, math.inf)))
        check_ranges(self, {"episodes": (2, math.inf)}, {"episodes": "One of them chooses the probes' weights."})


def main(args: Args) -> dict[str, Any]:
    """Measures, writes and returns the result."""
    args.check()
    started = time.monotonic()
    world = open_checkpoint(args.checkpoint).world.requires_grad_(False)
    training = read_mazes(args.recordings, args.episodes, args.walkers)
    held_out = read_mazes(args.test, args.test_episodes, args.walkers)
    refuse_early(args, world, training, held_out)
    args.output.mkdir(parents=True, exist_ok=True)

    scores = {}
    for name, remember in (("features", True), ("without_memory", False)):
        scores |= probe(name, remember, world, training, held_out, args)
    rows, columns = training[0].free.shape
    size = f"{rows}x{columns}"
    metrics: dict[str, Any] = {
        "size": size,
        "mazes": {"training": len(training), "held_out": len(held_out)},
        "scored_steps": [args.start, len(held_out[0].poses) - 1],
        **{name: summary(scores[name].between(args.start)) for name in NAMES},
        "published": {
            name: {"walls_accuracy": walls, "objects_rmse": objects}
            for name, (walls, objects) in PUBLISHED.get(size, {}).items()
        },
        "by_step": by_step(scores),
    }
    plot(metrics["by_step"], args.start, args.output / "map_probes.png")
    config = asdict(args) | {name: getattr(args, name).name for name in ("recordings", "test", "checkpoint")}
    config["world_model"] = weights_digest(args.checkpoint)[:16]
    config.pop("output")
    result = write_result(
        args.output, experiment="map_probes", config=config, seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics=metrics,
    )  # fmt: skip
    table = as_markdown(metrics, args)
    (args.output / "result.md").write_text(table + "\n")
    print(table)
    return result


def read_mazes(folder: Path, most: int, walkers: str) -> list[Maze]:
    """The mazes of the first episodes in a folder."""
    mazes: list[Maze] = []
    paths = scan(folder).usable
    for path in tqdm(paths, desc=f"mazes in {folder.name}", unit="episode"):
        if len(mazes) == most:
            break
        maze = read_maze(path)
        if (maze.walker or "").startswith(walkers):
            mazes.append(maze)
    if paths and not mazes:
        raise RecordingError(
            f"--walkers {walkers} given, but none of the {len(paths)} episodes in {folder} is of such a walker, "
            f"expected names as recorded, such as {maze.walker!r}. Leave --walkers out to take all."
        )
    return mazes


def refuse_early(args: Args, world: WorldModel, training: list[Maze], held_out: list[Maze]) -> None:
    """Says what cannot be measured before minutes are spent on measuring."""
    refuse_unfit(training, held_out, args.start)
    if (len(held_out[0].poses) - 1) // args.every * args.every < args.start:
        raise ValueError(
            f"--every {args.every} given, which keeps no frame from step {args.start} on of episodes of "
            f"{len(held_out[0].poses) - 1} steps. Pass a smaller number."
        )
    first = read_all([training[0].path, held_out[0].path])
    refuse_other_worlds(first, world.config.dynamics, world.config.tokenizer.frame_size)


def probe(
    name: str, remember: bool, world: WorldModel, training: list[Maze], held_out: list[Maze], args: Args
) -> dict[str, Scores]:
    """Extracts features, trains a probe a task on them and scores it; constants come from the same data."""
    data = []
    for kind, mazes in (("training", training), ("held-out", held_out)):
        frames = len(mazes[0].poses)
        total = len(mazes) * (frames if remember else len(range(0, frames, args.every)))
        with tqdm(total=total, desc=f"{name}, {kind} mazes", unit="frame") as bar:
            data.append(extract(world, mazes, every=args.every, remember=remember, progress=bar.update))
    probes = []
    for task in TASKS:
        with tqdm(total=args.steps, desc=f"{name}, probe of {task}", unit="step") as bar:
            probes.append(train_probe(data[0], task, steps=args.steps, seed=args.seed, progress=bar.update))
    return {name: score_probes(*probes, data[1]), **score_constants(*data)}


def summary(scores: Scores) -> dict[str, Any]:
    """Scores, and 95 % intervals by the bootstrap over episodes."""
    low, high = bootstrap_interval(scores.squared.mean(1).tolist())
    return scores.summary() | {
        "walls_accuracy_ci95": list(bootstrap_interval((100 * scores.correct.mean(1)).tolist())),
        "objects_rmse_ci95": [math.sqrt(low), math.sqrt(high)],
    }


def by_step(scores: dict[str, Scores]) -> dict[str, Any]:
    """Scores by part of the episode; `steps` are the first of each part."""
    kept = scores["features"].steps
    parts = [part for part in np.array_split(np.array(kept), BINS) if len(part)]
    values: dict[str, Any] = {"steps": [int(part[0]) for part in parts]}
    for name in NAMES:
        summaries = [scores[name].between(int(part[0]), int(part[-1]) + 1).summary() for part in parts]
        values[name] = {key: [summary[key] for summary in summaries] for key in summaries[0]}
    return values


def as_markdown(metrics: dict[str, Any], args: Args) -> str:
    """The numbers as a page shows them."""
    first, last = metrics["scored_steps"]
    lines = [
        f"Mazes of {metrics['size']} cells: probes trained on {metrics['mazes']['training']}, scored on "
        f"{metrics['mazes']['held_out']} held-out ones, steps {first} to {last}"
        f"{f', walkers {args.walkers}' if args.walkers else ''}. Walls: cells told rightly; objects: root mean square "
        "distance to the targets. 95 % intervals are over held-out episodes.",
        "",
        "| answer | walls, % | 95 % | objects, cells | 95 % |",
        "|---|---|---|---|---|",
    ]
    for key, name in NAMES.items():
        row = metrics[key]
        walls, objects = (f"{low:.{d}f} to {high:.{d}f}" for low, high, d in (
            (*row["walls_accuracy_ci95"], 1), (*row["objects_rmse_ci95"], 2),
        ))  # fmt: skip
        lines.append(f"| {name} | {row['walls_accuracy']:.1f} | {walls} | {row['objects_rmse']:.2f} | {objects} |")
    for name, row in metrics["published"].items():
        lines.append(f"| published: {name} | {row['walls_accuracy']:.1f} | | {row['objects_rmse']:.1f} | |")
    if metrics["published"]:
        lines += [
            "",
            "Published: arXiv:2210.13383, on the official recordings (29,000 trajectories to train on). How long the "
            f"probes were trained is not known to us; ours made {args.steps:,} steps of {BATCH} frames each.",
        ]
    return "\n".join(lines)


def plot(curves: dict[str, Any], start: int, path: Path) -> None:
    """Both scores against the step of the episode, one line an answer; what is scored begins at the dotted line."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for axis, key, label in zip(
        axes, ("walls_accuracy", "objects_rmse"), ("walls told rightly, %", "objects, RMSE in cells"), strict=True
    ):
        for name, shown in NAMES.items():
            axis.plot(curves["steps"], curves[name][key], "--" if "constant" in name else "-", label=shown)
        axis.axvline(start, color="grey", linestyle=":")
        axis.set(xlabel="step of the episode (first of each part)", ylabel=label)
    axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
