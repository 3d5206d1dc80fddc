"""Measure how fast tokenizer and world model train, how near to the machine's best, and where a step goes.

    python experiments/bench_training.py

Fresh weights and random data of the real shapes: windows are read from memory maps on disk, as in training. Frames a
second and the share of a matrix product's rate, both measured in this run, by precision and by window; seconds of a
step's parts; kinds of operations, by torch's profiler; growth of time with the window; resident memory over a long run.
All in one process: `--devices` of the training scripts adds more.

Writes `result.json`, `result.md` and a plot.
"""

import math
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import tyro
from tqdm import tqdm

from agents.results import write_result
from agents.training_plot import plot_training
from model.config import PRESETS, PresetName
from wmgym.arguments import check_ranges
from wmgym.efficiency import growth_exponent
from wmgym.floors import measure_rates
from wmgym.heap import keep_freed_memory, resident_bytes
from wmgym.plain_errors import plain_errors
from wmgym.training_speed import Training, random_store, tokenizer_training, world_model_training

Precision = Literal["32-true", "bf16-mixed"]
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}
PROFILED = "the world model's shortest window"


@dataclass
class Args:
    """Measure how fast tokenizer and world model train."""

    output: Path = Path("runs/bench_training")
    """Folder for result.json, result.md and the plot."""
    preset: PresetName = "cpu"
    """Size of both networks."""
    precisions: tuple[Precision, ...] = get_args(Precision)
    """As the training scripts take them."""
    windows: tuple[int, ...] = (48, 96, 192, 384)
    """Frames of a window of the world model."""
    frames_per_step: int = 384
    """Frames of a step of the world model: windows times their length."""
    batch: int = 32
    """Frames of a step of the tokenizer."""
    seconds: float = 10.0
    """How long each row is repeated; at least three steps."""
    long_run: int = 200
    """Steps of the shortest window over which resident memory is watched."""
    device: str = "cpu"
    """Where to train, as torch names it."""

    def check(self) -> None:
        """Refuses what cannot be measured."""
        counts = dict.fromkeys(("frames_per_step", "batch", "long_run"), (1, math.inf))
        check_ranges(self, counts | {"seconds": (0, 3600)})
        if not self.windows or not self.precisions or min(self.windows) < 2 or max(self.windows) > self.frames_per_step:
            raise ValueError(
                f"--windows {self.windows} and --precisions {self.precisions} given, expected a precision or more, and "
                f"a window or more of 2 to --frames-per-step {self.frames_per_step} frames."
            )


def main(args: Args) -> dict[str, Any]:
    """Measure, write and print; return the result."""
    args.check()
    keep_freed_memory()
    torch.manual_seed(0)
    started = time.monotonic()
    resident_bytes()  # only Linux tells: fail now, not after minutes
    config, windows = PRESETS[args.preset], sorted(set(args.windows))
    rates = {precision: measure_rates(DTYPES[precision], args.device).matmul for precision in args.precisions}
    rows: list[dict[str, Any]] = []
    operations: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = random_store(Path(folder) / "latents", config.dynamics, 8, max(1001, 2 * windows[-1]))
        bar = tqdm(total=len(args.precisions) * (1 + len(windows)) + 1, desc="training", unit="row")

        def measure(name: str, training: Training, precision: str, window: int | None, frames: int) -> None:
            speed = training.measure(frames, args.seconds)
            row = {"model": name, "precision": precision, "window": window, "frames_per_s": speed.frames_per_second}
            rows.append(row | asdict(speed) | {"share": speed.share(rates[precision])})
            bar.update()

        for precision in args.precisions:
            training = tokenizer_training(config.tokenizer, args.batch, precision, args.device)
            measure("tokenizer", training, precision, None, args.batch)
            for window in windows:
                count = args.frames_per_step // window
                training = world_model_training(config.dynamics, store, window, count, precision, args.device)
                measure("world model", training, precision, window, count * window)
                if window == windows[0]:
                    operations[precision] = training.operations()
        bar.set_description("a long run")
        count = args.frames_per_step // windows[0]
        training = world_model_training(config.dynamics, store, windows[0], count, args.precisions[-1], args.device)
        grown = grow_old(training, args.long_run)
        bar.update()
        bar.close()
    metrics = {
        "device": args.device, "threads": torch.get_num_threads(), "rates": rates, "rows": rows,
        "growth": {p: growth_of(rows, p) for p in args.precisions},
        "operations": operations, "long_run": {"steps": args.long_run, "resident_grown_mb": grown},
    }  # fmt: skip
    args.output.mkdir(parents=True, exist_ok=True)
    plot_training(metrics, args.output / "training.png")
    (args.output / "result.md").write_text(as_markdown(metrics) + "\n")
    settings = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(args).items() if key != "output"}
    result = write_result(
        args.output, experiment="bench_training", config=settings, seed=0,
        minutes=(time.monotonic() - started) / 60, metrics=metrics,
    )  # fmt: skip
    print(as_markdown(metrics))
    return result


def grow_old(training: Training, steps: int) -> float:
    """Make steps; return by how many megabytes resident memory grew over the last three quarters of them."""
    resident = 0
    for i in range(steps):
        training.step()
        if i == steps // 4:
            resident = resident_bytes()
    return (resident_bytes() - resident) / 2**20


def growth_of(rows: list[dict[str, Any]], precision: str) -> float | None:
    """How the time of one window grows with its frames: 1 is linear."""
    found = [row for row in rows if row["window"] and row["precision"] == precision]
    return growth_exponent([r["window"] for r in found], [r["seconds"] * r["window"] / r["frames"] for r in found])


def as_markdown(metrics: dict[str, Any]) -> str:
    """The rows as a table, and what was measured beside them."""
    header = "| model | precision | window | frames/s | of a matrix product's rate | reading | forward | backward "
    lines = [header + "| optimizers |", "|" + "---|" * 9]
    for r in metrics["rows"]:
        parts = [f"{100 * r['parts'][name] / r['seconds']:.1f} %" for name in r["parts"]]
        cells = [
            r["model"],
            r["precision"],
            r["window"] or "",
            f"{r['frames_per_s']:,.0f}",
            f"{100 * r['share']:.0f} %",
        ]
        lines.append(f"| {' | '.join(map(str, cells + parts))} |")
    rates = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s ({name})" for name, rate in metrics["rates"].items())
    growth = ", ".join(f"{v:.2f} ({name})" for name, v in metrics["growth"].items() if v is not None)
    lines += [
        "",
        f"{metrics['device']}, {metrics['threads']} thread(s). Large matrix products: {rates}."
        + (f" Time of a window grows with its frames to the power of {growth}; 1 is linear." if growth else ""),
    ]
    for precision, shares in metrics["operations"].items():
        told = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in shares.items())
        lines += ["", f"Operations of {PROFILED}, {precision}: {told}."]
    lines += [
        "",
        "Attention's products are in its fused kernel in 32-true, among matrix products in bf16-mixed.",
    ]
    long_run = metrics["long_run"]
    lines += [
        "",
        f"Resident memory grew by {long_run['resident_grown_mb']:.1f} MB over the last three quarters of "
        f"{long_run['steps']:,} steps.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
