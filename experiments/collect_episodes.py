"""Record episodes of the real Memory Maze with a mixture of scripted walks, one file each.

    python experiments/collect_episodes.py --output recordings/train --episodes 520 --workers 2

Run it again with a larger number to record on: seeds that are there are skipped, and files that cannot be used are
recorded anew. A run that is killed leaves whole files only. Each split has its own range of maze seeds
(`SEED_RANGES`), so held-out mazes are never trained on.

Who walks is drawn from the seed of the episode (`MIXTURE`): 40 % walk to random points of the maze under
action noise (seeing all of it, in loops, as in the official offline data set); 30 % seek the targets, with
anything from no noise to half of all steps random (dense in rewards); 15 % repeat their last action with a
probability of 0.5 to 0.95 and 15 % act uniformly at random, as fresh policies do.
"""

import json
import math
import os
import re
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
import tyro
from tqdm import tqdm

import wmgym
from agents.results import write_json
from agents.walkers import RandomGoalWalker, StickyWalker, TargetSeeker, UniformWalker, Walker
from wmgym.arguments import check_ranges
from wmgym.collection import JobFailed, Work, run_jobs
from wmgym.errors import RecordingError
from wmgym.recording import SEED_RANGES, read_summary, record_episode, scan, write_episode

Split = Literal["train", "validation", "test"]
Size = Literal["9x9", "11x11", "13x13", "15x15"]

MIXTURE = {"random_goal": 0.40, "target_seeker": 0.30, "sticky": 0.15, "uniform": 0.15}
SUMMARY_FILE = "collection.json"
STEPS = {"9x9": 1000, "11x11": 2000, "13x13": 3000, "15x15": 4000}


@dataclass(frozen=True)
class Args:
    """Record episodes of the real Memory Maze, resumably, in several processes."""

    output: Path
    """Folder for the files; it is made if it is not there."""

    episodes: int | None = None
    """How many episodes the folder shall hold in the end, those there already included."""

    frames: int | None = None
    """How many frames it shall hold at least, instead of --episodes (1,001 to an episode of the 9x9 maze)."""

    split: Split = "train"
    """Which range of seeds to take: train from 0, validation from 1,000,000, test from 2,000,000."""

    first_seed: int | None = None
    """Start at this seed instead, within the range of the split; for sharing work between machines."""

    workers: int = os.cpu_count() or 1
    """Processes, one maze each; as many as there are cores is best."""

    size: Size = "9x9"
    """Size of the maze in cells."""

    max_steps: int | None = None
    """End each episode after so many steps; for tests."""


def make_walker(seed: int) -> tuple[Walker, str]:
    """Draw who walks in the episode of a seed; return it with its name, as in "target_seeker noise=0.12"."""
    rng = np.random.default_rng([seed, 20_000])  # not the stream of the maze itself
    kind = rng.choice(list(MIXTURE), p=list(MIXTURE.values()))
    if kind == "random_goal":
        noise = round(rng.uniform(0.05, 0.3), 2)
        return RandomGoalWalker(rng, noise), f"{kind} noise={noise}"
    if kind == "target_seeker":
        noise = round(rng.uniform(0.0, 0.5), 2)
        return TargetSeeker(rng, noise), f"{kind} noise={noise}"
    if kind == "sticky":
        repeat = round(rng.uniform(0.5, 0.95), 2)
        return StickyWalker(rng, repeat), f"{kind} repeat={repeat}"
    return UniformWalker(rng), str(kind)


def start_worker(args: Args) -> Work:
    """Open the maze of one process; return the function that records the episode of a seed in it."""
    wmgym.register_all()
    env = gymnasium.make(maze_of(args), global_observables=True)

    def record(seed: int) -> int:
        walker, name = make_walker(seed)
        episode = record_episode(env, walker.act, seed=seed, policy_name=name, max_steps=args.max_steps)
        write_episode(file_of(args.output, seed), episode)
        return len(episode.image)

    return record


def file_of(folder: Path, seed: int) -> Path:
    """Return where the episode of a seed is kept."""
    return folder / f"seed-{seed:08d}.npz"


def choose_seeds(args: Args) -> list[int]:
    """Return the seeds that are asked for and not yet recorded, or whose files cannot be used.

    Raises:
        ValueError: The arguments contradict each other, or leave the range of the split.
    """
    if (args.episodes is None) == (args.frames is None):
        raise ValueError("Give either --episodes or --frames.")
    check_ranges(args, dict.fromkeys(("episodes", "frames", "max_steps", "workers"), (1, math.inf)))
    refuse_other_maze(args)
    steps = args.max_steps or STEPS[args.size]
    count = args.episodes if args.episodes is not None else math.ceil((args.frames or 0) / (steps + 1))
    allowed = SEED_RANGES[args.split]
    first = allowed.start if args.first_seed is None else args.first_seed
    if first not in allowed or first + count > allowed.stop:
        raise ValueError(
            f"Seeds {first} to {first + count - 1} leave the range of split {args.split}, "
            f"{allowed.start} to {allowed.stop - 1}. Likely cause: --first-seed of another split."
        )
    found = recorded_seeds(args.output)
    foreign = sorted(seed for seed in found if seed not in allowed)
    if foreign:
        raise ValueError(
            f"{args.output} holds {len(foreign)} episodes of another split, such as seed {foreign[0]}; expected seeds "
            f"{allowed.start} to {allowed.stop - 1}, of split {args.split}. Give each split its own --output: mixed, "
            "held-out mazes would be trained on."
        )
    sound, _ = survey(args.output)
    return [seed for seed in range(first, first + count) if file_of(args.output, seed) not in sound]


def refuse_other_maze(args: Args) -> None:
    """Refuse a folder whose summary says that it holds episodes of a maze of another size.

    Raises:
        ValueError: It does, or the summary is damaged.
    """
    path = args.output / SUMMARY_FILE
    if not path.exists():
        return
    try:
        maze = json.loads(path.read_text())["maze"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}), expected the summary of this folder. Delete it: "
            "it is written anew."
        ) from error
    if maze != maze_of(args):
        raise ValueError(
            f"{args.output} holds episodes of {maze}, --size {args.size} asks for {maze_of(args)}; expected one maze "
            "a folder, since models are trained on all of it. Pass the same --size, or another --output."
        )


def maze_of(args: Args) -> str:
    """Return the id of the maze that is recorded."""
    return f"wmgym/MemoryMaze-{args.size}-v0"


def recorded_seeds(folder: Path) -> set[int]:
    """Return the seeds that the names of the files tell; files whose names tell none are named and ignored."""
    seeds = set()
    for path in sorted(folder.glob("seed-*.npz")):
        if re.fullmatch(r"seed-[0-9]+", path.stem):
            seeds.add(int(path.stem.removeprefix("seed-")))
        else:
            print(
                f"ignored {path}: its name tells no seed, expected one such as {file_of(folder, 7).name}",
                file=sys.stderr,
            )
    return seeds


def survey(folder: Path) -> tuple[dict[Path, tuple[int, float, str]], dict[Path, str]]:
    """Return frames, return and policy of each sound episode of a folder, and why the other files cannot be used."""
    if not folder.is_dir():
        return {}, {}
    found = scan(folder)
    sound, unusable = {}, dict(found.unusable)
    for path in found.usable:
        try:
            sound[path] = read_summary(path)
        except RecordingError as error:
            unusable[path] = str(error)
    return sound, unusable


def summarise(args: Args) -> dict[str, object]:
    """Count what the folder holds, by policy; unusable files are named and not counted."""
    sound, unusable = survey(args.output)
    returns: dict[str, list[float]] = {}
    for _, total, policy in sound.values():
        returns.setdefault(policy.partition(" ")[0], []).append(total)
    return {
        "maze": maze_of(args),
        "split": args.split,
        "seeds": [SEED_RANGES[args.split].start, SEED_RANGES[args.split].stop - 1],
        "mixture": MIXTURE,
        "episodes": sum(map(len, returns.values())),
        "frames": sum(frames for frames, _, _ in sound.values()),
        "policies": {
            name: {"episodes": len(values), "mean_return": float(np.mean(values)), "max_return": max(values)}
            for name, values in sorted(returns.items())
        },
        "unusable": {path.name: reason for path, reason in unusable.items()},
    }


def main(args: Args) -> dict[str, object]:
    """Record what is missing, write `collection.json`, and return what it says."""
    args.output.mkdir(parents=True, exist_ok=True)
    seeds = choose_seeds(args)
    if args.workers > 1:  # each process draws on its own core; read when a worker opens its GL context
        os.environ.setdefault("LP_NUM_THREADS", "0")
    failed = recorded = 0
    started = time.perf_counter()
    total = len(seeds) * ((args.max_steps or STEPS[args.size]) + 1)
    with tqdm(total=total, unit="frame", desc=args.split, unit_scale=True, mininterval=1.0) as bar:
        for result in run_jobs(partial(start_worker, args), seeds, args.workers):
            if isinstance(result, JobFailed):
                failed += 1
                bar.write(f"seed {result.job} failed: {result.reason}")
            else:
                recorded += result
                bar.update(result)
    summary = summarise(args)
    summary["failed_in_last_run"] = failed
    summary["frames_per_second_in_last_run"] = round(recorded / (time.perf_counter() - started), 1)
    write_json(args.output / SUMMARY_FILE, summary)
    return summary


if __name__ == "__main__":
    collected = main(tyro.cli(Args))
    print(json.dumps(collected, indent=2))
    if collected["failed_in_last_run"]:
        sys.exit(f"{collected['failed_in_last_run']} episodes were not recorded, see above. Run again to retry them.")
