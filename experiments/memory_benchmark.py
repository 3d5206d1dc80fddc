"""Measure how well models remember places: spatial retrieval and spatial reasoning, side by side with what is known.

    python experiments/memory_benchmark.py --runs runs/memory/*/ --recordings recordings/texture-test

Takes models conditioned on poses. Retrieval: a walk is shown, then dreamed back exactly; reasoning: a walk is shown,
then dreamed on. All stand against three floors: the last frame shown, the shown frame nearest by true pose (what a
perfect lookup would give), and the tokenizer's own reconstruction. Writes `result.json`, `result.md` and plots.
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
from wmgym.fidelity import dream_along, read_all, reconstruct, refuse_other_worlds
from wmgym.memory_scores import Numbers, compare, psnr_interval, score
from wmgym.memory_tasks import MemoryTask, TaskName, make_task
from wmgym.recording import SEED_RANGES, scan

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PAPER = {
    "causal": (32.6, 0.914, 28.8, 0.860), "lssvwm": (30.8, 0.898, 28.2, 0.855),
    "causal_window": (26.4, 0.829, 27.1, 0.839), "mamba2": (20.4, 0.747, 26.4, 0.827),
    "mamba2_local": (19.3, 0.735, 27.5, 0.845), "lssvwm_block1": (None, None, 23.1, 0.766),
    "lssvwm_no_clean": (None, None, 25.3, 0.809),
}  # fmt: skip
"""PSNR and SSIM of retrieval (400 + 400 frames), then of reasoning (576 + 224): arXiv:2505.20171, Tables 2, 3 and 5."""
ORDER = (
    ("causal", "lssvwm"), ("lssvwm", "causal_window"), ("lssvwm", "mamba2_local"), ("lssvwm", "mamba2"),
    ("lssvwm", "lssvwm_block1"), ("lssvwm", "lssvwm_no_clean"), ("lssvwm", "lssvwm, scan cleared"),
)  # fmt: skip
"""Who is expected to be ahead of whom."""
FLOORS = ("last frame", "nearest by pose", "tokenizer")
TASKS: tuple[TaskName, ...] = get_args(TaskName)
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
    border: int = 0
    """Pixels on each side that do not count. Memory Maze: 2, the colour of the target, which no pose tells."""
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
    episodes = read_all(scan(args.recordings).usable[: args.episodes])
    if any(episode.seed is not None and episode.seed in SEED_RANGES["train"] for episode in episodes):
        raise ValueError(
            f"{args.recordings} holds episodes with training seeds, expected held-out ones. Record some: "
            "experiments/collect_episodes.py --split test."
        )
    earlier = json.loads(args.beside.read_text())["metrics"] if args.beside else EMPTY
    rows: list[dict[str, Any]] = []
    errors: dict[tuple[str, str], list[Numbers]] = defaultdict(list)

    def keep(task: str, name: str, found: tuple[dict[str, Any], Numbers], about: dict[str, Any]) -> None:
        context, generated = getattr(args, task)
        about = {
            "backbone": name,
            "world": args.world,
            "task": task,
            "context": context,
            "generated": generated,
        } | about
        rows.append(about | found[0])
        errors[task, name].append(found[1])

    for folder in tqdm(args.runs, desc="models", unit="model"):
        world, name, about = open_run(folder)
        check_denoising_steps(args.denoising_steps, world.config.dynamics.max_denoising_steps)
        refuse_other_worlds(episodes, world.config.dynamics.num_actions, world.config.tokenizer.frame_size)
        for task in TASKS:
            context, generated = getattr(args, task)
            asked = make_task(
                task, world, episodes, context=context, generated=generated, clips_per_episode=args.clips_per_episode
            )
            for floor, frames in floors(world, asked).items():
                if (task, floor) not in errors:  # the same for all models of one tokenizer
                    keep(task, floor, score(asked, frames, args.border, args.lpips), {})
            for forget in (False, True) if name == "lssvwm" else (False,):
                dreamed = dream_along(
                    world, asked.clips, context, denoising_steps=args.denoising_steps, seed=args.seed, forget=forget
                )
                known_as = f"{name}, scan cleared" if forget else name
                keep(task, known_as, score(asked, dreamed, args.border, args.lpips), about)
    metrics = merge(earlier, args.world, rows, errors, args.seed)
    config = asdict(args) | {"recordings": args.recordings.name, "runs": [folder.name for folder in args.runs]}
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


def merge(
    earlier: dict[str, Any],
    world: str,
    rows: list[dict[str, Any]],
    errors: dict[tuple[str, str], list[Numbers]],
    seed: int,
) -> dict[str, Any]:
    """The metrics of one world beside those of others: rows, and by world and task intervals and the expected order."""
    intervals = {
        task: {name: psnr_interval(found, seed) for (of, name), found in errors.items() if of == task} for task in TASKS
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


def open_run(folder: Path) -> tuple[WorldModel, str, dict[str, Any]]:
    """Opens a run's model; says which system it is, and how it was trained."""
    checkpoint = folder / "checkpoint" if (folder / "checkpoint").is_dir() else folder
    world = WorldModel.from_pretrained(checkpoint, local_files_only=True)
    record = json.loads((checkpoint / "training.json").read_text())
    settings, progress = record["settings"], record["progress"]
    name = settings.get("backbone", "lssvwm")
    if settings["mode"] == "diffusion_forcing" and name != "dfot":
        name += "_prefix" if settings.get("clean_prefix", 0.5) else "_no_clean"
    about = {
        "parameters": sum(p.numel() for p in world.dynamics.parameters()),
        "frames_trained": progress["frames"],
        "tokens_trained": progress["frames"] * world.config.dynamics.tokens,
        "steps_trained": progress["step"],
        "minutes_trained": round(progress["seconds"] / 60, 2),
        "seed": settings["seed"],
    }
    return world, name, about


def floors(world: WorldModel, task: MemoryTask) -> dict[str, Any]:
    """What is to be had without a model of time."""
    truth = task.truth
    rebuilt = reconstruct(world, truth.reshape(-1, *truth.shape[2:])).reshape(truth.shape)
    return dict(zip(FLOORS, (task.last_shown(), task.looked_up(), rebuilt), strict=True))


def as_markdown(metrics: dict[str, Any], world: str) -> str:
    """One line a system in a world, and the order that was expected."""
    rows = [row for row in metrics["rows"] if row["world"] == world]
    asked = {row["task"]: f"{row['context']} + {row['generated']}" for row in rows}
    lines = [
        f"**{world}**: retrieval {asked['retrieval']} frames, reasoning {asked['reasoning']}; PSNR in dB of the mean "
        "squared error. The paper's columns are its own maze, 400 + 400 and 576 + 224 frames, 200M parameters.",
        "",
        "| system | seeds | parameters | minutes | frames | retrieval PSNR (95 %) | SSIM | paper "
        "| reasoning PSNR (95 %) | revisited | new | SSIM | paper |",
        "|" + "---|" * 13,
    ]
    systems = dict.fromkeys(row["backbone"] for row in rows)
    for name in sorted(systems, key=lambda n: (n in FLOORS, -_mean(rows, "retrieval", n, "psnr"))):
        runs = [row for row in rows if (row["backbone"], row["task"]) == (name, "retrieval")]
        trained = "seed" in runs[0]
        about = [f"{len(runs)}", f"{runs[0]['parameters']:,}"] if trained else ["", ""]
        about += [
            f"{np.mean([r[k] for r in runs]):{f}}" if trained else ""
            for k, f in (("minutes_trained", ".1f"), ("frames_trained", ",.0f"))
        ]
        paper = PAPER.get(name, (None,) * 4)
        cells = [name, *about]
        for task, known in (("retrieval", paper[:2]), ("reasoning", paper[2:])):
            low, high = metrics["intervals"][world][task][name]
            cells.append(f"{_mean(rows, task, name, 'psnr'):.2f} ({low:.2f} to {high:.2f})")
            if task == "reasoning":
                cells += [f"{_mean(rows, task, name, key):.2f}" for key in ("psnr_revisited", "psnr_new")]
            cells.append(f"{_mean(rows, task, name, 'ssim'):.3f}")
            cells.append(f"{known[0]} / {known[1]}" if known[0] else "")
        lines.append("| " + " | ".join(cells) + " |")
    for task, found in metrics["order"][world].items():
        lines += ["", f"Expected order, {task}, dB ahead:", ""]
        for pair, ahead in found.items():
            low, high = ahead["ci95"]
            shown = "shown" if ahead["shown"] else "not shown"
            lines.append(f"- {pair}: {ahead['db']:+.2f} ({low:+.2f} to {high:+.2f}): {shown}")
    return "\n".join(lines)


def _mean(rows: list[dict[str, Any]], task: str, name: str, key: str) -> float:
    values = [r[key] for r in rows if (r["backbone"], r["task"]) == (name, task) and r[key] is not None]
    return float(np.mean(values)) if values else math.nan


def plot(rows: list[dict[str, Any]], task: str, path: Path) -> None:
    """PSNR against frames since a place was last seen, and against the frame of the dream."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True)
    for name in dict.fromkeys(row["backbone"] for row in rows):
        runs = [row for row in rows if (row["backbone"], row["task"]) == (name, task)]
        style = "--" if name in FLOORS else "-"
        ages = sorted({int(age) for row in runs for age in row["by_age"]})
        by_age = [np.mean([row["by_age"][str(age)] for row in runs]) for age in ages]
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
