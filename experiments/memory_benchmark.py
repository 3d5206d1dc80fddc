"""Measure how well models remember places: spatial retrieval and spatial reasoning, side by side with what is known.

    python experiments/memory_benchmark.py --runs runs/memory/2400-steps/*/ --recordings runs/memory/test

Takes models conditioned on poses. Retrieval: a walk is shown, then dreamed back exactly; reasoning: a walk is shown,
then dreamed on. All stand beside three floors: the last frame shown, the shown frame nearest by true pose (what a
lookup would give), and the tokenizer's own reconstruction. Writes `result.json`, `result.md` and plots.
`make memory` trains the small models that are missing first.
"""

import json
import math
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import matplotlib
import numpy as np
import tyro
from tqdm import tqdm

from agents.results import write_result
from model.sampler import check_denoising_steps
from model.world_model import WorldModel
from wmgym.arguments import check_ranges
from wmgym.fidelity import Frames, dream_along, read_all, reconstruct, refuse_other_worlds, refuse_training_seeds
from wmgym.memory_runs import open_runs
from wmgym.memory_scores import ENOUGH_RUNS, Numbers, age_curve, compare, pooled, score
from wmgym.memory_tasks import MemoryTask, TaskName, make_task
from wmgym.recording import read_state, scan

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PAPER = {
    "causal": (32.6, 0.914, 28.8, 0.860), "lssvwm": (30.8, 0.898, 28.2, 0.855),
    "causal_window": (26.4, 0.829, 27.1, 0.839), "mamba2": (20.4, 0.747, 26.4, 0.827),
    "mamba2_local": (19.3, 0.735, 27.5, 0.845), "lssvwm_block1": (None, None, 23.1, 0.766),
    "lssvwm_no_clean": (None, None, 25.3, 0.809),
}  # fmt: skip
"""PSNR and SSIM of retrieval (400 + 400 frames), then of reasoning (576 + 224): arXiv:2505.20171, Tables 2, 3 and 5."""
CLEARED = "lssvwm, scan cleared"
ORDER = (
    ("causal", "lssvwm"), ("lssvwm", "causal_window"), ("lssvwm", "mamba2_local"), ("lssvwm", "mamba2"),
    ("lssvwm", "lssvwm_block1"), ("lssvwm", "lssvwm_no_clean"), ("lssvwm", CLEARED),
)  # fmt: skip
"""Who is expected to be ahead of whom."""
FLOORS = ("last frame", "nearest by pose", "tokenizer")
TASKS: tuple[TaskName, ...] = get_args(TaskName)
Errors = dict[tuple[str, str], list[Numbers]]
EMPTY: dict[str, Any] = {"rows": [], "intervals": {}, "order": {}}


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
    """Pixels on each side that do not count. By default 2 where there are targets, whose colour frames the picture of a
    maze and which no pose tells, else 0."""
    lpips: bool = False
    """Measure LPIPS, too: needs torchvision, and a network for its weights."""
    seed: int = 0
    """Fixes the noise of all dreams, and the intervals."""

    def check(self) -> None:
        """Refuses numbers that leave nothing to measure."""
        check_ranges(self, dict.fromkeys(("episodes", "clips_per_episode", "denoising_steps"), (1, math.inf)))
        check_ranges(self, {"border": (0, 15), "seed": (0, math.inf)})
        for name in TASKS:
            if min(getattr(self, name)) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} given, expected two numbers of frames of 1 or more.")
        if not self.runs:
            raise ValueError("--runs given without a folder, expected at least one of train_world_model.py.")


def main(args: Args) -> dict[str, Any]:
    """Measures, writes and returns the result."""
    args.check()
    started = time.monotonic()
    found = scan(args.recordings)
    episodes = read_all(found.usable[: args.episodes])
    refuse_training_seeds(episodes, args.recordings)
    runs = open_runs(args.runs)
    for run in runs:
        check_denoising_steps(args.denoising_steps, run.world.config.dynamics.max_denoising_steps)
        refuse_other_worlds(episodes, run.world.config.dynamics.num_actions, run.world.config.tokenizer.frame_size)
    earlier = read_earlier(args.beside)
    has_targets = "targets_pos" in read_state(found.usable[0], ["targets_pos"])[0]
    border = 2 * has_targets if args.border is None else args.border
    rows: list[dict[str, Any]] = []
    errors: Errors = defaultdict(list)

    def keep(task: TaskName, name: str, asked: MemoryTask, frames: Frames, about: dict[str, Any]) -> None:
        shown, generated = getattr(args, task)
        values, error = score(asked, frames, border, args.lpips)
        what = {"backbone": name, "world": args.world, "task": task, "context": shown, "generated": generated}
        rows.append(what | about | values)
        errors[task, name].append(error.reshape(len(episodes), -1))

    untrained = dict.fromkeys(runs[0].about)
    for run in tqdm(runs, desc="models", unit="model"):
        for task in TASKS:
            shown, generated = getattr(args, task)
            asked = make_task(
                task, run.world, episodes, context=shown, generated=generated, clips_per_episode=args.clips_per_episode
            )
            if run is runs[0]:
                for floor, frames in floors(run.world, asked).items():
                    keep(task, floor, asked, frames, untrained)
            for forget in (False, True) if run.name == "lssvwm" else (False,):
                dreamed = dream_along(
                    run.world, asked.clips, shown, denoising_steps=args.denoising_steps, seed=args.seed, forget=forget
                )
                keep(task, CLEARED if forget else run.name, asked, dreamed, run.about)
    metrics = merge(earlier, args.world, rows, errors, args.seed)
    names = [f"{run.name}, seed {run.seed}" for run in runs]
    config = asdict(args) | {"recordings": args.recordings.name, "runs": names, "border": border}
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


def merge(earlier: dict[str, Any], world: str, rows: list[dict[str, Any]], errors: Errors, seed: int) -> dict[str, Any]:
    """The metrics of one world beside those of others: rows, and by world and task intervals and the expected order."""
    intervals = {
        task: {name: pooled(found, seed) for (of, name), found in errors.items() if of == task} for task in TASKS
    }
    order = {
        task: {
            f"{a} > {b}": compare(errors[task, a], errors[task, b], seed)
            for a, b in ORDER
            if (task, a) in errors and (task, b) in errors
        }
        for task in TASKS
    }
    return {
        "rows": [row for row in earlier["rows"] if row["world"] != world] + rows,
        "intervals": earlier["intervals"] | {world: intervals},
        "order": earlier["order"] | {world: order},
    }


def read_earlier(path: Path | None) -> dict[str, Any]:
    """The metrics of an earlier result."""
    if path is None:
        return EMPTY
    try:
        metrics: dict[str, Any] = json.loads(path.read_text())["metrics"]
        return {key: metrics[key] for key in EMPTY}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--beside {path} given, expected a result.json of this script ({type(error).__name__}: {error}). Leave "
            "--beside out to measure one world alone."
        ) from error


def floors(world: WorldModel, task: MemoryTask) -> dict[str, Any]:
    """What is to be had without a model of time."""
    truth = task.truth
    rebuilt = reconstruct(world, truth.reshape(-1, *truth.shape[2:])).reshape(truth.shape)
    return dict(zip(FLOORS, (task.last_shown(), task.looked_up(), rebuilt), strict=True))


def as_markdown(metrics: dict[str, Any], world: str) -> str:
    """One line a system in a world, and the order that was expected."""
    rows = [row for row in metrics["rows"] if row["world"] == world]
    asked = {row["task"]: f"{row['context']} + {row['generated']}" for row in rows}
    extra = ["LPIPS"] if "lpips" in rows[0] else []
    titles = ["system", "seeds", "parameters", "KB kept", "steps", "frames", "minutes"]
    titles += ["retrieval PSNR (95 %)", "SSIM", *extra, "paper"]
    titles += ["reasoning PSNR (95 %)", "revisited", "turned", "new", "SSIM", *extra, "paper"]
    lines = [
        f"**{world}**: retrieval {asked['retrieval']} frames, reasoning {asked['reasoning']}; PSNR in dB of the mean "
        "squared error; minutes of one core that others may have shared. The paper's columns (PSNR / SSIM) are of its "
        "own maze, 400 + 400 and 576 + 224 frames, 200M parameters.",
        "",
        "| " + " | ".join(titles) + " |",
        "|" + "---|" * len(titles),
    ]
    found = metrics["intervals"][world]
    for name in sorted(found["retrieval"], key=lambda n: (n in FLOORS, -found["retrieval"][n]["psnr"])):
        runs = [row for row in rows if (row["backbone"], row["task"]) == (name, "retrieval")]
        cells = [name, "", "", "", "", "", ""]
        if name not in FLOORS:
            kept = "grows" if runs[0]["memory_bytes"] is None else f"{runs[0]['memory_bytes'] / 1000:,.0f}"
            trained = [_mean(runs, f"{key}_trained") for key in ("steps", "frames", "minutes")]
            cells = [name, f"{len(runs)}", f"{runs[0]['parameters']:,}", kept]
            cells += [f"{trained[0]:,.0f}", f"{trained[1]:,.0f}", f"{trained[2]:.1f}"]
        paper = PAPER.get(name, (None,) * 4)
        for task, known in (("retrieval", paper[:2]), ("reasoning", paper[2:])):
            of_task = [row for row in rows if (row["backbone"], row["task"]) == (name, task)]
            low, high = found[task][name]["ci95"]
            cells.append(f"{found[task][name]['psnr']:.2f} ({low:.2f} to {high:.2f})")
            kinds = ("revisited", "turned", "new") if task == "reasoning" else ()
            cells += [_cell(_mean(of_task, f"psnr_{kind}"), ".2f") for kind in kinds]
            cells += [_cell(_mean(of_task, key.lower()), ".3f") for key in ("SSIM", *extra)]
            cells.append(f"{known[0]} / {known[1]}" if known[0] else "")
        lines.append("| " + " | ".join(cells) + " |")
    for task, pairs in metrics["order"][world].items():
        lines += [
            "",
            f"Expected order, {task}, dB ahead (shown: the interval excludes 0, of {ENOUGH_RUNS} seeds or more):",
        ]
        lines.append("")
        for pair, ahead in pairs.items():
            low, high = ahead["ci95"]
            few = f"too few seeds ({min(ahead['runs'])})" if min(ahead["runs"]) < ENOUGH_RUNS else "not shown"
            lines.append(
                f"- {pair}: {ahead['db']:+.2f} ({low:+.2f} to {high:+.2f}): {'shown' if ahead['shown'] else few}"
            )
    return "\n".join(lines)


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    values = [row[key] for row in rows if row.get(key) is not None]
    return float(np.mean(values)) if values else math.nan


def _cell(value: float, form: str) -> str:
    return "" if math.isnan(value) else f"{value:{form}}"


def plot(rows: list[dict[str, Any]], task: str, path: Path) -> None:
    """PSNR against frames since a place was last seen, and against the frame of the dream."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True)
    for name in dict.fromkeys(row["backbone"] for row in rows):
        runs = [row for row in rows if (row["backbone"], row["task"]) == (name, task)]
        style = "--" if name in FLOORS else "-"
        ages, by_age = age_curve(runs)
        left.plot(ages, by_age, style, label=name)
        by_frame = np.mean([row["by_frame"] for row in runs], axis=0)
        right.plot(np.arange(1, len(by_frame) + 1), by_frame, style, label=name)
    left.set(xlabel="frames since the place was last shown", ylabel="PSNR, dB", title=f"{task}: places shown before")
    right.set(xlabel="frame of the dream", title=f"{task}: all places")
    right.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
