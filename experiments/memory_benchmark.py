"""Measure how well models remember places: spatial retrieval and spatial reasoning, side by side with what is known.

    python experiments/memory_benchmark.py --runs runs/memory/1200-steps/*-0 --recordings runs/memory/test

Takes models conditioned on poses. Retrieval: a walk is shown, then dreamed back exactly; reasoning: a walk is shown,
then dreamed on. All stand beside what is to be had without a model of time: the last frame shown and the mean of those
shown (remembering nothing), the shown frame nearest by true pose (what a lookup would give), and the tokenizer's own
reconstruction. Writes `result.json`, `result.md` and plots.
`make memory` trains the small models that are missing first.
"""

import json
import math
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import tyro
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

from agents.pictures import line_of
from agents.results import write_result
from model.sampler import check_denoising_steps
from model.world_model import WorldModel
from wmgym.arguments import check_ranges
from wmgym.clips import places_in
from wmgym.fidelity import Frames, dream_along, read_all, reconstruct, refuse_other_worlds, refuse_training_seeds
from wmgym.memory_runs import TrainedRun, open_runs, told_of
from wmgym.memory_scores import Numbers, age_curve, score
from wmgym.memory_table import CLEARED, REFERENCES, REVISITED, as_markdown, merge, read_metrics
from wmgym.memory_tasks import NEVER, MemoryTask, TaskName, frames_needed, make_task
from wmgym.picture_metrics import SSIM_WINDOW, load_lpips
from wmgym.plain_errors import plain_errors
from wmgym.recording import Episode, read_state, scan

TASKS: tuple[TaskName, ...] = get_args(TaskName)


@dataclass
class Args:
    """Measure how well models remember places."""

    runs: tuple[Path, ...]
    """Run folders of train_world_model.py --conditioning pose. Runs that differ only in their seed are one system."""
    recordings: Path
    """Folder of held-out episodes."""
    output: Path = Path("runs/memory_benchmark")
    """Folder for result.json and plots."""
    world: str = "TextureWorld"
    """What to call the world in the rows."""
    beside: Path | None = None
    """An earlier result.json, whose rows of other worlds are kept beside these."""
    retrieval: tuple[int, int] = (24, 24)
    """Frames shown, and frames to be dreamed back; at most as many. The paper's: 400 400."""
    reasoning: tuple[int, int] = (36, 12)
    """Frames shown, and frames to be dreamed on. The paper's: 576 224."""
    episodes: int = 24
    """At most this many episodes."""
    clips_per_episode: int = 4
    """Walks cut from each."""
    denoising_steps: int = 1
    """Of the sampler; 1 gives the mean of what could be there."""
    border: int | None = None
    """Pixels on each side that do not count. By default 2 of 64, 1 of 32, where there are targets, whose colour frames
    the picture of a maze and which no pose tells, else 0."""
    lpips: bool = False
    """Measure LPIPS, too: needs torchvision, and a network for its weights."""
    seed: int = 0
    """Fixes the noise of all dreams, and the intervals."""

    def check(self) -> None:
        """Refuses numbers that leave nothing to measure."""
        check_ranges(self, dict.fromkeys(("episodes", "clips_per_episode", "denoising_steps"), (1, math.inf)))
        check_ranges(self, {"border": (0, 1000), "seed": (0, math.inf)})
        if not self.world or set(self.world) & set("/\\"):
            raise ValueError(f"--world {self.world!r} given, expected a name that can be part of a file's name.")
        for name in TASKS:
            if min(getattr(self, name)) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} given, expected two numbers of frames of 1 or more.")
        if not self.runs:
            raise ValueError("--runs given without a folder, expected at least one of train_world_model.py.")


class Asked(NamedTuple):
    """All that is measured on, looked through before the first frame is dreamed."""

    episodes: list[Episode]
    runs: list[TrainedRun]
    earlier: dict[str, Any]
    border: int
    perceptual: nn.Module | None


def main(args: Args) -> dict[str, Any]:
    """Measures, writes and returns the result."""
    args.check()
    started = time.monotonic()
    asked = prepare(args)
    rows, errors = measure(args, asked)
    metrics = merge(asked.earlier, args.world, rows, errors, told_of(asked.runs), args.seed)
    names = [f"{run.name}, seed {run.seed}" for run in asked.runs]
    config = asdict(args) | {"recordings": args.recordings.name, "runs": names, "border": asked.border}
    config = {key: value for key, value in config.items() if key not in ("output", "beside")}
    result = write_result(
        args.output, experiment="memory_benchmark", config=config, seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics=metrics,
    )  # fmt: skip
    table = "\n\n".join(as_markdown(metrics, world) for world in metrics["intervals"])
    (args.output / "result.md").write_text(table + "\n")
    for task in TASKS:
        plot(rows, task, args.output / f"{args.world}_{task}.png")
    print(table)
    return result


def prepare(args: Args) -> Asked:
    """Reads episodes and models; refuses what cannot be measured or written, before hours of dreams."""
    found = scan(args.recordings)
    episodes = read_all(found.usable[: args.episodes])
    refuse_training_seeds(episodes, args.recordings)
    for task in TASKS:
        places_in(episodes, args.clips_per_episode, frames_needed(task, *getattr(args, task)))
    has_targets = "targets_pos" in read_state(found.usable[0], ["targets_pos"])[0]
    runs = open_runs(args.runs)
    for run in runs:
        check_denoising_steps(args.denoising_steps, run.world.config.dynamics.max_denoising_steps)
        refuse_other_worlds(episodes, run.world.config.dynamics, run.world.config.tokenizer.frame_size)
    size = runs[0].world.config.tokenizer.frame_size
    border = math.ceil(size / 32) * has_targets if args.border is None else args.border
    check_border(border, size)
    earlier = read_earlier(args.beside)
    args.output.mkdir(parents=True, exist_ok=True)
    return Asked(episodes, runs, earlier, border, load_lpips() if args.lpips else None)


def measure(args: Args, asked: Asked) -> tuple[list[dict[str, Any]], dict[tuple[str, str], list[Numbers]]]:
    """Dreams every task with every model; returns the rows, and the errors in full."""
    rows: list[dict[str, Any]] = []
    errors: dict[tuple[str, str], list[Numbers]] = defaultdict(list)

    def keep(task: MemoryTask, name: TaskName, system: str, frames: Frames, about: dict[str, Any]) -> None:
        shown, generated = getattr(args, name)
        values, error = score(task, frames, asked.border, asked.perceptual)
        what = {"backbone": system, "world": args.world, "task": name, "context": shown, "generated": generated}
        rows.append(what | about | values)
        errors[name, system].append(error.reshape(len(asked.episodes), -1))
        if name == "reasoning" and values["revisited"]:
            known = np.where(task.last_seen == NEVER, np.nan, error)
            errors[REVISITED, system].append(known.reshape(len(asked.episodes), -1))

    untrained = dict.fromkeys(asked.runs[0].about)
    for run in tqdm(asked.runs, desc="models", unit="model"):
        for name in TASKS:
            shown, generated = getattr(args, name)
            task = make_task(
                name, run.world, asked.episodes, context=shown, generated=generated,
                clips_per_episode=args.clips_per_episode,
            )  # fmt: skip
            if run is asked.runs[0]:
                for reference, frames in references(run.world, task).items():
                    keep(task, name, reference, frames, untrained)
            for forget in (False, True) if run.name == "lssvwm" else (False,):
                dreamed = dream_along(
                    run.world, task.clips, shown, denoising_steps=args.denoising_steps, seed=args.seed, forget=forget
                )
                keep(task, name, CLEARED if forget else run.name, dreamed, run.about)
    return rows, errors


def check_border(border: int, frame_size: int) -> None:
    """Refuses a border that leaves fewer pixels than SSIM looks at together."""
    if frame_size - 2 * border < SSIM_WINDOW:
        raise ValueError(
            f"--border {border} given, expected at most {(frame_size - SSIM_WINDOW) // 2} for frames of {frame_size} "
            f"pixels: SSIM compares windows of {SSIM_WINDOW}."
        )


def read_earlier(path: Path | None) -> dict[str, Any]:
    """The metrics of an earlier result."""
    if path is None:
        return {"rows": [], "intervals": {}, "order": {}, "notes": {}}
    try:
        return read_metrics(json.loads(path.read_text())["metrics"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--beside {path} given, expected a result.json of this script ({type(error).__name__}: {error}). Leave "
            "--beside out to measure one world alone."
        ) from error


def references(world: WorldModel, task: MemoryTask) -> dict[str, Any]:
    """What is to be had without a model of time."""
    truth = task.truth
    rebuilt = reconstruct(world, truth.reshape(-1, *truth.shape[2:])).reshape(truth.shape)
    return dict(zip(REFERENCES, (task.last_shown(), task.mean_shown(), task.looked_up(), rebuilt), strict=True))


def plot(rows: list[dict[str, Any]], task: str, path: Path) -> None:
    """PSNR against frames since a place was last seen, and against the frame of the dream."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name in dict.fromkeys(row["backbone"] for row in rows):
        runs = [row for row in rows if (row["backbone"], row["task"]) == (name, task)]
        look = line_of(name)
        left.plot(*age_curve(runs), label=name, **look)
        error = np.mean([10 ** (-np.array(row["by_frame"]) / 10) for row in runs], axis=0)
        right.plot(np.arange(1, len(error) + 1), -10 * np.log10(error), label=name, **look)
    left.set(xlabel="frames since the place was last shown", ylabel="PSNR, dB", title=f"{task}: places shown before")
    right.set(xlabel="frame of the dream", title=f"{task}: all places")
    figure.legend(*right.get_legend_handles_labels(), fontsize="small", loc="outside right upper")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
