"""How good dreams are, and how fast, in 1, 2, 4 and 8 denoising steps: what decides the default.

    python experiments/denoising_steps.py --recordings recordings/test --output docs/results/denoising_steps

On held-out recordings: PSNR of dreamed against real frames; recall and precision of dreamed rewards and the error of
imagined returns, in clips around rewards and as many without; how far ahead rewards are still dreamed; whether long
dreams still move, against how much reality does; and the time of a step. Writes `result.json`, `result.md` and one
plot. A few minutes.
"""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from tqdm import tqdm

from agents.results import told_checkpoint, write_result
from model.checkpoint import weights_digest
from model.world_model import WorldModel
from wmgym.arguments import check_ranges
from wmgym.checkpoint import DEFAULT_CHECKPOINT, open_checkpoint, refuse_unsteppable
from wmgym.dreamed_rewards import dream_clips, rewarded_places
from wmgym.fidelity import read_all, refuse_other_worlds, refuse_training_seeds
from wmgym.heap import keep_freed_memory
from wmgym.long_dreams import drift, long_dreams
from wmgym.plain_errors import plain_errors
from wmgym.recording import Episode, scan
from wmgym.stepping import make_stepping

TIMED_STEPS = 40


@dataclass
class Args:
    """Quality and speed against denoising steps."""

    recordings: Path
    """Folder of held-out episodes."""
    output: Path = Path("runs/denoising_steps")
    """Folder for result.json, result.md and quality.png."""
    checkpoint: Path = DEFAULT_CHECKPOINT
    """Checkpoint folder; the shipped one by default."""
    episodes: int = 24
    """At most this many episodes."""
    context: int = 32
    """Real frames before a dream."""
    horizon: int = 16
    """Dreamed frames of a clip."""
    long_dream: int = 500
    """Frames of the long dreams."""
    long_dreams: int = 8
    """How many of them."""
    batch: int = 32
    """Dreams in lock step where the time of a step is measured."""
    seed: int = 0
    """Fixes which clips are cut, and the noise of all dreams."""

    def check(self) -> None:
        """Refuses numbers that leave nothing to measure."""
        counts = ("episodes", "context", "horizon", "batch", "long_dreams")
        check_ranges(self, dict.fromkeys(counts, (1, math.inf)) | {"long_dream": (8, math.inf), "seed": (0, math.inf)})


def main(args: Args) -> dict[str, Any]:
    """Measures, writes and returns the result."""
    args.check()
    keep_freed_memory()
    started = time.monotonic()
    world = open_checkpoint(args.checkpoint).world
    refuse_unsteppable(world)
    episodes = read_all(scan(args.recordings).usable[: args.episodes])
    refuse_other_worlds(episodes, world.config.dynamics, world.config.tokenizer.frame_size)
    refuse_training_seeds(episodes, args.recordings)
    long_enough = [e for e in episodes if len(e.image) > args.long_dream][: args.long_dreams]
    if not long_enough:
        raise ValueError(
            f"--long-dream {args.long_dream} given, but the longest of the {len(episodes)} episodes in "
            f"{args.recordings} has {max(len(e.image) for e in episodes)} frames, and dreams follow recorded actions. "
            "Pass a smaller one."
        )
    places = rewarded_places(episodes, args.context, args.horizon, np.random.default_rng(args.seed))
    steps = [2**i for i in range(world.config.dynamics.max_denoising_steps.bit_length())]
    rows = []
    dreams = dream_clips(
        world, places, context=args.context, horizon=args.horizon, denoising_steps=steps, seed=args.seed, progress=tqdm
    )
    for k in steps:
        pictures, rewards = dreams[k]
        rows.append({"denoising_steps": k} | pictures.summary() | rewards.summary())
        rows[-1]["recall_ahead"] = rewards.recall_ahead()
        rows[-1] |= how_lively(world, long_enough, k, args) | {"step_ms": time_step(world, args.batch, k)}
    config = asdict(args) | {"recordings": args.recordings.name, "checkpoint": told_checkpoint(args.checkpoint)}
    config["world_model"] = weights_digest(args.checkpoint)[:16]
    config.pop("output")
    result = write_result(
        args.output, experiment="denoising_steps", config=config, seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics={"rows": rows, "clips": len(places)},
    )  # fmt: skip
    table = as_markdown(result)
    (args.output / "result.md").write_text(table + "\n")
    plot(rows, args.output / "quality.png")
    print(table)
    return result


def how_lively(world: WorldModel, episodes: list[Episode], denoising_steps: int, args: Args) -> dict[str, float]:
    """Contrast and change of frames at the end of long dreams, as shares of those of real frames."""
    dreamed, _ = long_dreams(world, episodes, args.long_dream, denoising_steps, args.seed, progress=tqdm)
    found = drift(dreamed, np.stack([e.image[1 : args.long_dream + 1] for e in episodes]))
    last, real = found["dreamed_by_quarter"][-1], found["real"]
    return {f"{name}_share": last[name] / real[name] for name in ("contrast", "change")}


@torch.inference_mode()
def time_step(world: WorldModel, batch: int, denoising_steps: int) -> float:
    """Milliseconds of a step of the fast path, without decoding; the median."""
    path, c = make_stepping(world), world.config.dynamics
    memory = path.lay_out(world.dynamics.initial_memory(batch))
    actions = torch.zeros(batch, dtype=torch.int64)
    noise = torch.randn(batch, c.latent_channels, c.latent_size, c.latent_size, generator=torch.Generator())
    durations = []
    for _ in range(TIMED_STEPS):
        before = time.perf_counter()
        _, memory = path.imagine(memory, actions, noise, denoising_steps)
        durations.append(1000 * (time.perf_counter() - before))
    return float(np.median(durations))


def as_markdown(result: dict[str, Any]) -> str:
    """The rows as a table."""
    metrics, config = result["metrics"], result["config"]
    lines = [
        f"{metrics['clips']} held-out clips of {config['horizon']} dreamed frames, half of them around a reward "
        f"({metrics['rows'][0]['events']} rewards, {metrics['rows'][0]['return_real']:.2f} a clip). PSNR of the mean "
        "squared error, border included. Change from frame to frame, and contrast, in the last quarter of dreams of "
        f"{config['long_dream']} frames, as shares of those of real frames.",
        "",
        "| denoising steps | PSNR, first frame | PSNR, all frames | recall of rewards | precision | dreamed return of "
        f"a clip | error of the return | change | contrast | ms a step, batch {config['batch']}, features |",
        "|" + "---|" * 10,
    ]
    lines += [
        f"| {r['denoising_steps']} | {r['psnr_first']:.2f} | {r['psnr_mean']:.2f} | {r['recall']:.2f} | "
        f"{r['precision']:.2f} | {r['return_dreamed']:.2f} | {r['return_error']:.2f} | "
        f"{100 * r['change_share']:.0f} % | {100 * r['contrast_share']:.0f} % | {r['step_ms']:.0f} |"
        for r in metrics["rows"]
    ]
    stretches = metrics["rows"][0]["recall_ahead"]
    spans = [f"{s['first']} to {s['last']}" if s["first"] < s["last"] else f"{s['first']}" for s in stretches]
    named = [f"{span} (of {s['events']})" for span, s in zip(spans, stretches, strict=True)]
    lines += ["", "Recall of rewards by how many frames after the last real one they come:", ""]
    lines += [f"| denoising steps | {' | '.join(named)} |", "|" + "---|" * (1 + len(named))]
    for r in metrics["rows"]:
        shares = " | ".join(f"{each['recall']:.2f}" if each["events"] else "none came" for each in r["recall_ahead"])
        lines.append(f"| {r['denoising_steps']} | {shares} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Quality against the time of a step, a point a sampler."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    measures = {"PSNR, dB": "psnr_mean", "recall of rewards": "recall", "error of returns": "return_error"}
    measures["change in long dreams, share of real"] = "change_share"
    for axes, (name, key) in zip(figure.subplots(1, 4), measures.items(), strict=True):
        axes.plot([r["step_ms"] for r in rows], [r[key] for r in rows], marker="o")
        for r in rows:
            axes.annotate(str(r["denoising_steps"]), (r["step_ms"], r[key]), textcoords="offset points", xytext=(4, 4))
        axes.set(xlabel="ms a step", ylabel=name)
    figure.suptitle("held-out mazes, by denoising steps")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
