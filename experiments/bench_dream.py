"""Dream steps a second against the real maze, in one run on one machine.

    python experiments/bench_dream.py

Runs the stock Memory Maze and wmgym's in as many processes as there are cores, one after the other, and dreams of the
shipped checkpoint in batches; writes `result.json` with a row a system and prints the table. All act at random.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import tyro
from tqdm import tqdm

import wmgym  # noqa: F401  (registers the ids)
from agents.results import write_result
from wmgym.checkpoint import DEFAULT_CHECKPOINT

Observation = Literal["pixels", "features"]


STEPS_OF_EPISODE = 900  # within the 1,000 of the smallest maze


@dataclass
class Args:
    """Dream steps a second against the real maze."""

    output: Path = Path("runs/bench_dream")
    """Folder for result.json."""
    checkpoint: Path = DEFAULT_CHECKPOINT
    """Checkpoint folder; the shipped one by default."""
    batches: tuple[int, ...] = (1, 32, 64)
    """Dreams in lock step."""
    denoising_steps: tuple[int, ...] = (1, 4)
    """Samplers to time."""
    seconds: float = 15.0
    """How long each system is timed, after warming up."""
    processes: int = os.cpu_count() or 1
    """Real mazes side by side."""
    seed: int = 0
    """Fixes actions and episodes."""


def main(args: Args) -> dict[str, Any]:
    """Times every system and returns the result."""
    started = time.monotonic()
    rows = [time_mazes("stock_maze", args), time_mazes("wmgym_maze", args)]
    plan = [(o, b, k) for k in args.denoising_steps for o in ("pixels", "features") for b in args.batches]
    for observation, batch, steps in tqdm(plan, desc="dreams", unit="setting"):
        rows.append(time_dream(observation, batch, steps, args))
    for row in rows:
        row["against_stock"] = row["steps_per_s"] / rows[0]["steps_per_s"]
    config = asdict(args) | {"checkpoint": args.checkpoint.name}
    config.pop("output")
    result = write_result(
        args.output, experiment="bench_dream", config=config, seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics={"rows": rows},
    )  # fmt: skip
    table = as_markdown(rows)
    (args.output / "result.md").write_text(table + "\n")
    print(table)
    return result


def time_dream(observation: str, batch: int, denoising_steps: int, args: Args) -> dict[str, Any]:
    """Steps a batch of dreams with random actions."""
    env = gym.make_vec(
        "LSSVWM-MemoryMaze-v0", num_envs=batch, vectorization_mode="vector_entry_point",
        checkpoint=args.checkpoint, observation=observation, denoising_steps=denoising_steps,
    )  # fmt: skip
    env.reset(seed=args.seed)
    env.action_space.seed(args.seed)
    latencies = _time(lambda: env.step(env.action_space.sample()), args.seconds)
    env.close()
    return _row("dream", observation, batch, denoising_steps, latencies)


def time_mazes(system: str, args: Args) -> dict[str, Any]:
    """Steps real mazes, one a process, all at once; steps a second are those of all together."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(args.processes)
    with context.Pool(args.processes, _share, (barrier,)) as pool:
        jobs = [(system, args.seed + i, args.seconds) for i in range(args.processes)]
        latencies = pool.starmap(_time_one_maze, jobs, chunksize=1)
    row = _row(system, "pixels", args.processes, None, [v for process in latencies for v in process])
    row["steps_per_s"] = sum(len(process) / sum(process) for process in latencies)
    return row


def _share(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _time_one_maze(system: str, seed: int, seconds: float) -> list[float]:
    os.environ.setdefault("LP_NUM_THREADS", "1")  # the software renderer's threads would fight over the cores
    rng = np.random.default_rng(seed)
    step: Callable[[], Any]
    restart: Callable[[], Any]
    if system == "stock_maze":
        from wmgym.memory_maze_setup import import_memory_maze_tasks

        maze = import_memory_maze_tasks().memory_maze_9x9(seed=seed, image_only_obs=True)
        restart = maze.reset
        step = lambda: maze.step(rng.integers(6))  # noqa: E731
    else:
        env = gym.make("wmgym/MemoryMaze-9x9-v0")
        env.reset(seed=seed)
        restart = env.reset
        step = lambda: env.step(int(rng.integers(6)))  # noqa: E731
    restart()
    _barrier.wait()
    return _time(step, seconds, restart)


def _time(step: Callable[[], Any], seconds: float, restart: Callable[[], Any] = lambda: None) -> list[float]:
    """Seconds of each step, after three that are not counted; episodes start anew between steps, off the clock."""
    for _ in range(3):
        step()
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        before = time.perf_counter()
        step()
        latencies.append(time.perf_counter() - before)
        if len(latencies) % STEPS_OF_EPISODE == 0:
            restart()
    return latencies


def _row(system: str, observation: str, batch: int, steps: int | None, latencies: list[float]) -> dict[str, Any]:
    return {
        "system": system,
        "observation": observation,
        "batch": batch,
        "denoising_steps": steps,
        "compile": False,
        "steps_per_s": batch * len(latencies) / sum(latencies),
        "latency_ms": 1000 * statistics.median(latencies),
        "floor_ratio": None,
    }


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    lines = [
        "| system | observation | batch | denoising steps | steps/s | ms a step | against stock |",
        "|" + "---|" * 7,
    ]
    for r in rows:
        steps = r["denoising_steps"] or ""
        lines.append(
            f"| {r['system']} | {r['observation']} | {r['batch']} | {steps} | {r['steps_per_s']:.0f} | "
            f"{r['latency_ms']:.1f} | {r['against_stock']:.1f}x |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
