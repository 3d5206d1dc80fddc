r"""Dream steps a second against the real maze and a diffusion U-Net, and against what this machine could do at best.

    python experiments/bench_dream.py

In one run on one machine: the stock Memory Maze and wmgym's in as many processes as there are cores; an environment of
DIAMOND's size and sampler; and dreams of a checkpoint by the plain path and by the fast one, in both precisions,
compiled and not, over batches and denoising steps. All act at random. A matrix product and a copy, measured in the
same run, say how fast a step could be. Writes `result.json`, a table and a plot. It takes a quarter of an hour, with
`--engines fast` five minutes.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
import torch
import tyro
from tqdm import tqdm

import wmgym  # noqa: F401  (registers the ids)
from agents.results import told_checkpoint, write_result
from agents.speed_plot import plot_speed
from agents.unet_env import UNetEnv
from model.checkpoint import weights_digest
from wmgym.checkpoint import DEFAULT_CHECKPOINT, open_checkpoint
from wmgym.dream import DEFAULT_DENOISING_STEPS
from wmgym.floors import Rates, measure_rates, step_cost
from wmgym.heap import keep_freed_memory, resident_bytes
from wmgym.plain_errors import plain_errors
from wmgym.stepping import PRECISIONS

EngineName = Literal["plain", "fast", "fast-bfloat16", "compiled", "compiled-bfloat16"]
Observation = Literal["pixels", "latent", "features"]

STEPS_OF_EPISODE = 900  # within the 1,000 of the smallest maze
UNET_STEPS = 3  # DIAMOND's
YOUTH, TURNS = 20, 600
"""Frames until the young dream starts anew, and steps of both that are compared."""
COMPILED = "TORCHINDUCTOR_CACHE_DIR"
"""Where torch.compile keeps what it made."""
SMALLEST_BATCH = 32
"""From here on steps a second count; smaller batches are about latency."""


@dataclass
class Args:
    """Dream steps a second against the real maze."""

    output: Path = Path("runs/bench_dream")
    """Folder for result.json, result.md and speed.png."""
    checkpoint: Path = DEFAULT_CHECKPOINT
    """Checkpoint folder; the shipped one by default."""
    engines: tuple[EngineName, ...] = ("plain", "fast", "fast-bfloat16", "compiled-bfloat16")
    """Ways to step: the model as it is trained, its fast path, and that compiled."""
    batches: tuple[int, ...] = (1, 32, 64, 128, 256)
    """Dreams in lock step, timed at the default denoising steps."""
    denoising_steps: tuple[int, ...] = (1, 2, 4, 8)
    """Samplers, timed at the smallest batch of 32 or more."""
    observations: tuple[Observation, ...] = ("pixels", "features")
    """What is shown; the costs of latents are those of features."""
    seconds: float = 4.0
    """How long each system is timed, after warming up."""
    frames: int = 10_000
    """How old the dream is whose steps are compared with a young one's."""
    processes: int = os.cpu_count() or 1
    """Real mazes side by side."""
    seed: int = 0
    """Fixes actions and episodes."""


class Engine(NamedTuple):
    """How dreams are stepped, as `gym.make_vec` takes it."""

    fast: bool
    precision: str
    compile: bool


def engine_of(name: EngineName) -> Engine:
    """What a name stands for."""
    return Engine(name != "plain", "bfloat16" if name.endswith("bfloat16") else "float32", name.startswith("compiled"))


def main(args: Args) -> dict[str, Any]:
    """Times every system and returns the result."""
    started = time.monotonic()
    keep_freed_memory()
    rows = [time_mazes("stock_maze", args), time_mazes("wmgym_maze", args)]
    for precision, dtype in PRECISIONS.items():
        rows += [time_unet(batch, precision, dtype, args) for batch in (1, SMALLEST_BATCH)]
    rates = {name: measure_rates(dtype) for name, dtype in PRECISIONS.items()}
    plan = [(e, o, b, k) for e in args.engines for b, k in _settings(args) for o in args.observations]
    with nothing_compiled():
        for name, observation, batch, steps in tqdm(plan, desc="dreams", unit="setting"):
            rows.append(time_dream(engine_of(name), observation, batch, steps, rates, args) | {"engine": name})
    fastest_unet = max(row["steps_per_s"] for row in rows if row["system"] == "unet_env")
    for row in rows:
        row["against_stock"] = row["steps_per_s"] / rows[0]["steps_per_s"]
        row["against_unet"] = row["steps_per_s"] / fastest_unet
    metrics = {"rows": rows, "rates": {name: asdict(found) for name, found in rates.items()}}
    metrics["age"] = time_age(args)
    config = asdict(args) | {
        "checkpoint": told_checkpoint(args.checkpoint),
        "world_model": weights_digest(args.checkpoint)[:16],
    }
    config.pop("output")
    result = write_result(
        args.output, experiment="bench_dream", config=config, seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics=metrics,
    )  # fmt: skip
    table = as_markdown(rows, metrics)
    (args.output / "result.md").write_text(table + "\n")
    (args.output / "summary.md").write_text(as_markdown(headlines(rows), metrics) + "\n")
    plot_speed(rows, args.output / "speed.png")
    print(table)
    return result


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """Hide what was compiled on this machine before: first steps take as long as they do where there is nothing."""
    before = os.environ.get(COMPILED)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[COMPILED] = folder
        try:
            yield
        finally:
            del os.environ[COMPILED]
            os.environ |= {} if before is None else {COMPILED: before}


def _settings(args: Args) -> list[tuple[int, int]]:
    """Batches and denoising steps: not every pair, but both lines through the default."""
    middle = min((b for b in args.batches if b >= SMALLEST_BATCH), default=max(args.batches))
    pairs = [(b, DEFAULT_DENOISING_STEPS) for b in args.batches] + [(middle, k) for k in args.denoising_steps]
    return list(dict.fromkeys(pairs))


def time_dream(
    engine: Engine, observation: str, batch: int, denoising_steps: int, rates: dict[str, Rates], args: Args
) -> dict[str, Any]:
    """Steps a batch of dreams with random actions."""
    opened = open_checkpoint(args.checkpoint)
    env = gym.make_vec(
        "LSSVWM-MemoryMaze-v0", num_envs=batch, vectorization_mode="vector_entry_point", checkpoint=opened,
        observation=observation, denoising_steps=denoising_steps, **engine._asdict(),
    )  # fmt: skip
    env.reset(seed=args.seed)
    env.action_space.seed(args.seed)
    before = time.perf_counter()
    env.step(env.action_space.sample())
    warm_up = time.perf_counter() - before
    latencies = _time(lambda: env.step(env.action_space.sample()), args.seconds)
    env.close()
    row = _row("dream", observation, batch, denoising_steps, latencies) | engine._asdict()
    cost = step_cost(opened.world, observation, denoising_steps, PRECISIONS[engine.precision])
    row["floor_ratio"] = cost.floor(rates[engine.precision]) * row["steps_per_s"]
    return row | {"warm_up_s": warm_up}


def time_unet(batch: int, precision: str, dtype: torch.dtype, args: Args) -> dict[str, Any]:
    """Steps an environment of DIAMOND's size with random actions."""
    env = UNetEnv(batch, UNET_STEPS, dtype=dtype, seed=args.seed)
    env.reset()
    rng = np.random.default_rng(args.seed)
    latencies = _time(lambda: env.step(rng.integers(6, size=batch)), args.seconds)
    return _row("unet_env", "pixels", batch, UNET_STEPS, latencies) | {"precision": precision}


def time_age(args: Args) -> dict[str, Any]:
    """Steps one dream until it is old, then it and a young one in turn; in a process of its own, whose memory is told.

    What this process has freed would hide what the dream takes.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grow_old, (args,))


def _grow_old(args: Args) -> dict[str, Any]:
    make = {"checkpoint": args.checkpoint, "observation": "features"}
    old, young = (gym.make("LSSVWM-MemoryMaze-v0", max_episode_steps=-1, **make).unwrapped for _ in range(2))
    rng = np.random.default_rng(args.seed)
    latencies: dict[str, list[float]] = {"old": [], "young": []}

    def in_turn(rounds: int) -> None:
        for i in range(rounds):
            if i % YOUTH == 0:
                young.reset(seed=args.seed)
            for name, env in (("old", old), ("young", young)):
                before = time.perf_counter()
                env.step(int(rng.integers(6)))
                latencies[name].append(time.perf_counter() - before)

    old.reset(seed=args.seed)
    in_turn(YOUTH)  # everything was used once, and memory is as large as it should ever be
    resident = resident_bytes()
    for _ in tqdm(range(args.frames), desc="one long dream", unit="frame"):
        old.step(int(rng.integers(6)))
    latencies = {"old": [], "young": []}
    in_turn(TURNS)
    medians = {f"{name}_ms": 1000 * statistics.median(v) for name, v in latencies.items()}
    grown = (resident_bytes() - resident) / 2**20
    return {"frames": args.frames, **medians, "resident_grown_mb": grown, "state_bytes": old.state_nbytes}


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
        "precision": None,
        "compile": False,
        "steps_per_s": batch * len(latencies) / sum(latencies),
        "latency_ms": 1000 * statistics.median(latencies),
        "warm_up_s": None,
        "floor_ratio": None,
    }


def headlines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows to read first: each engine at the default steps, alone and in its best batch; the fastest U-Net."""
    chosen = [max((r for r in rows if r["system"] == name), key=_speed) for name in ("stock_maze", "wmgym_maze")]
    chosen.append(max((r for r in rows if r["system"] == "unet_env"), key=_speed))
    dreams = [r for r in rows if r["system"] == "dream" and r["denoising_steps"] == DEFAULT_DENOISING_STEPS]
    for engine, shown in dict.fromkeys((r["engine"], r["observation"]) for r in dreams):
        line = [r for r in dreams if (r["engine"], r["observation"]) == (engine, shown)]
        chosen += [r for r in line if r["batch"] == 1 < len(line)] + [max(line, key=_speed)]
    return [row for i, row in enumerate(chosen) if row not in chosen[:i]]


def _speed(row: dict[str, Any]) -> float:
    return float(row["steps_per_s"])


def as_markdown(rows: list[dict[str, Any]], metrics: dict[str, Any]) -> str:
    """Rows as a table, and what was measured beside them."""
    lines = [
        "| system | observation | batch | denoising steps | steps/s | ms a step | against stock | against U-Net "
        "| of the floor | first step, s |",
        "|" + "---|" * 10,
    ]
    for r in rows:
        name = f"dream, {r['engine']}" if "engine" in r else " ".join(filter(None, (r["system"], r["precision"])))
        floor = "" if r["floor_ratio"] is None else f"{100 * r['floor_ratio']:.0f} %"
        lines.append(
            f"| {name} | {r['observation']} | {r['batch']} | {r['denoising_steps'] or ''} | {r['steps_per_s']:.0f} | "
            f"{r['latency_ms']:.1f} | {r['against_stock']:.1f}x | {r['against_unet']:.1f}x | {floor} | "
            f"{'' if r['warm_up_s'] is None else format(r['warm_up_s'], '.1f')} |"
        )
    measured = ", ".join(
        f"{v['matmul'] / 1e9:.0f} GFLOP/s in {name} matrix products" for name, v in metrics["rates"].items()
    )
    copied = max(v["copy"] for v in metrics["rates"].values()) / 1e9
    age = metrics["age"]
    lines += [
        "",
        f"Floor: the slower of a step's operations at {measured}, and of its memory's bytes at {copied:.0f} GB/s "
        "copied, both measured in this run. First step: nothing was compiled before, but by rows above of the same "
        "engine and batch. The stock maze runs in as many processes as its batch says; the U-Net is compared by its "
        "fastest row.",
        "",
        f"One dream alone, `fast`, features: {age['young_ms']:.2f} ms a step when young, {age['old_ms']:.2f} ms "
        f"({100 * (age['old_ms'] / age['young_ms'] - 1):+.1f} %) after {age['frames']:,} frames; resident memory grew "
        f"by {age['resident_grown_mb']:.1f} MB on the way.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
