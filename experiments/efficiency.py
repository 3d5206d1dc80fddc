"""Measure what each backbone costs as sequences grow: training time, bytes remembered, time of a dreamed frame.

    python experiments/efficiency.py

Figure 8 of arXiv:2505.20171 for LSSVWM and all it is compared with (`model.backbones`), with fresh weights and random
latents. Training: seconds of one iteration, forward and backward, on one sequence of so many frames (two streams; one
for `dfot`, which sees later frames and so trains by diffusion forcing). Inference: bytes of `Memory` after so many
frames, and seconds of one `imagine` in one denoising step. `dfot` keeps no memory: its bytes are those of the latents
of its 25 frames, its time is one pass over them. `causal` starts from random keys and values, as observing so many
frames would be quadratic work, and copies them as it takes a frame in, as memories are values.

Writes `result.json`, `result.md` and a plot. Growth is the exponent between the two longest lengths that were measured.
"""

import math
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import tyro
from matplotlib.figure import Figure
from tqdm import tqdm

from agents.pictures import line_of
from agents.results import write_result
from model.backbones import BackboneName, count_parameters, with_backbone
from model.config import PRESETS, LSSVWMConfig, PresetName
from model.lssvwm import LSSVWM
from wmgym.arguments import check_ranges
from wmgym.efficiency import Cost, dreaming_cost, growth_exponent, memory_after, sliding_cost, training_cost
from wmgym.plain_errors import plain_errors

PANELS = (
    ("training", "seconds", "seconds of a training iteration", "frames of the sequence"),
    ("inference", "bytes", "bytes kept between frames", "frames of context"),
    ("inference", "seconds", "seconds of a dreamed frame", "frames of context"),
)


@dataclass
class Args:
    """Measure what each backbone costs as sequences grow."""

    output: Path = Path("runs/efficiency")
    """Folder for result.json, result.md and the plot."""
    preset: PresetName = "small"
    """Size of the LSSVWM; the others get as many parameters."""
    backbones: tuple[BackboneName, ...] = get_args(BackboneName)
    """What to measure; see model.backbones."""
    training_frames: tuple[int, ...] = (50, 100, 200, 400, 800)
    """Lengths of training sequences."""
    inference_frames: tuple[int, ...] = (10, 100, 1_000, 10_000)
    """Frames taken in before a frame is dreamed."""
    seconds: float = 2.0
    """How long each point is repeated; at least three times."""
    limit_seconds: float = 20.0
    """A length is skipped, and all longer ones, when one training iteration or taking its context in would take longer.
    What it would take is told from the length before, so the shortest is always measured."""
    limit_gigabytes: float = 8.0
    """The same for what is kept for the backward pass, and for a memory and its successor."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to measure; auto takes a GPU if there is one."""
    seed: int = 0
    """Fixes weights, latents and noise."""

    def check(self) -> None:
        """Refuses what cannot be measured, or would be measured twice."""
        limits = dict.fromkeys(("limit_seconds", "limit_gigabytes"), (0, 10**6))
        check_ranges(self, limits | {"seconds": (0, 3600), "seed": (0, math.inf)})
        check_list("backbones", self.backbones, "names", get_args(BackboneName)[:2])
        check_list("training_frames", self.training_frames, "lengths of 2 or more", (50, 100), 2)
        check_list("inference_frames", self.inference_frames, "lengths of 1 or more", (10, 100), 1)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                "--device cuda given, expected cpu: torch finds no GPU here. Pass --device auto, or install a build of "
                "torch for the GPU of this machine."
            )


def check_list(
    name: str, given: tuple[Any, ...], kind: str, such_as: tuple[Any, ...], least: int | None = None
) -> None:
    """Refuses a list that is empty, or has a value twice or one that is too small."""
    if given and len(set(given)) == len(given) and (least is None or min(given) >= least):
        return
    option = f"--{name.replace('_', '-')}"
    raise ValueError(
        f"{option} {' '.join(map(str, given)) or 'without a value'} given, expected one or more {kind}, each once, "
        f"such as {option} {' '.join(map(str, such_as))}. Leave it out for the defaults."
    )


def main(args: Args) -> dict[str, Any]:
    """Measures, writes and returns the result."""
    args.check()
    started = time.monotonic()
    configs = {name: with_backbone(PRESETS[args.preset].dynamics, name) for name in args.backbones}
    device = torch.device("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []  # as rows, with a reason in place of costs
    points = len(configs) * (len(args.training_frames) + len(args.inference_frames))
    with tqdm(total=points, desc="efficiency", unit="point") as bar:
        for name, config in configs.items():
            bar.set_postfix_str(name)
            torch.manual_seed(args.seed)
            model = LSSVWM(config).to(device)
            for kind, costs in (("training", train(model, args)), ("inference", dream(model, args))):
                row = {"backbone": name, "parameters": count_parameters(config), "kind": kind}
                for frames, cost in costs:
                    if isinstance(cost, str):
                        skipped.append(row | {"frames": frames, "reason": cost})
                    else:
                        rows.append(row | {"frames": frames} | asdict(cost))
                    bar.update()
    metrics = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "rows": rows,
        "skipped": skipped,
        "exponents": {name: exponents(rows, name) for name in configs},
    }
    settings = {key: value for key, value in asdict(args).items() if key != "output"}
    result = write_result(
        args.output, experiment="efficiency", config=settings, seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics=metrics,
    )  # fmt: skip
    plot(rows, args.output / "efficiency.png")
    table = as_markdown(metrics, args)
    (args.output / "result.md").write_text(table + "\n")
    print(table)
    return result


def train(model: LSSVWM, args: Args) -> Iterator[tuple[int, Cost | str]]:
    """What training costs at each length, shortest first, or why it was not measured."""
    generator = torch.Generator(model.place.device).manual_seed(args.seed)
    power = 2 if sees_everything(model.config) else 1
    reason, length, cost = "", 0, None
    for frames in sorted(args.training_frames):
        if cost is not None and not reason:
            grown = (frames / length) ** power
            reason = beyond(args, cost.seconds * grown, cost.bytes * grown)
        if reason:
            yield frames, reason
            continue
        length, cost = frames, training_cost(model, frames, args.seconds, generator)
        yield frames, cost


def dream(model: LSSVWM, args: Args) -> Iterator[tuple[int, Cost | str]]:
    """What a dreamed frame costs after each context, shortest first, or why it was not measured."""
    generator = torch.Generator(model.place.device).manual_seed(args.seed)
    memory, reason, pace = model.initial_memory(1), "", 0.0
    for frames in sorted(args.inference_frames):
        if not model.config.steppable:
            yield frames, sliding_cost(model, frames, args.seconds, generator)
            continue
        if (seen := int(memory.seen)) and not reason:
            grown = frames / seen if sees_everything(model.config) else 1
            reason = beyond(args, pace * (frames - seen), 2 * memory.nbytes * grown)
        if reason:
            yield frames, reason
            continue
        started = time.perf_counter()
        memory = memory_after(model, memory, frames, generator)
        pace = (time.perf_counter() - started) / (frames - seen)
        yield frames, dreaming_cost(model, memory, args.seconds, generator)


def sees_everything(config: LSSVWMConfig) -> bool:
    """Whether each frame attends to all before it, so that work and bytes are expected to grow by one power more."""
    return config.attention == "full"


def beyond(args: Args, seconds: float, size: float) -> str:
    """Which limit would be exceeded; empty if none."""
    if seconds > args.limit_seconds:
        return f"about {seconds:.3g} s, above --limit-seconds {args.limit_seconds:g}"
    if size > args.limit_gigabytes * 1e9:
        return f"about {size / 1e9:.3g} GB, above --limit-gigabytes {args.limit_gigabytes:g}"
    return ""


def curve(rows: list[dict[str, Any]], name: str, kind: str, key: str) -> tuple[list[int], list[float]]:
    """Lengths, and values at them, of one line."""
    chosen = [row for row in rows if (row["backbone"], row["kind"]) == (name, kind)]
    return [row["frames"] for row in chosen], [row[key] for row in chosen]


def exponents(rows: list[dict[str, Any]], name: str) -> dict[str, float | None]:
    """How the three costs of a backbone grow at the longest lengths."""
    return {f"{kind}_{key}": growth_exponent(*curve(rows, name, kind, key)) for kind, key, *_ in PANELS}


def as_markdown(metrics: dict[str, Any], args: Args) -> str:
    """A row a backbone: each cost at the shortest and the longest length, and how it grows."""
    lengths = {"training": args.training_frames, "inference": args.inference_frames}
    shown = {kind: sorted({min(frames), max(frames)}) for kind, frames in lengths.items()}
    units = (("s a training iteration", 1.0), ("KB kept", 1e-3), ("ms a dreamed frame", 1e3))
    header, rows = ["backbone", "parameters"], metrics["rows"]
    for (kind, *_), (unit, _) in zip(PANELS, units, strict=True):
        header += [f"{unit}, {frames:,} frames" for frames in shown[kind]] + ["growth"]
    lines = [
        f"Preset {args.preset}, {metrics['device']}, {metrics['threads']} thread(s), one sequence. Growth: exponent "
        "between the two longest lengths measured; 0 is constant, 1 linear, 2 quadratic. `dfot` keeps no memory: the "
        "bytes are those of the latents of its 25 frames.",
        "",
        f"| {' | '.join(header)} |",
        "|" + "---|" * len(header),
    ]
    for name, growth in metrics["exponents"].items():
        cells = [name, f"{next(row['parameters'] for row in rows if row['backbone'] == name):,}"]
        for (kind, key, *_), (_, scale) in zip(PANELS, units, strict=True):
            values = dict(zip(*curve(rows, name, kind, key), strict=True))
            cells += [as_text(scale * values[n]) if n in values else "skipped" for n in shown[kind]]
            exponent = growth[f"{kind}_{key}"]
            cells.append("" if exponent is None else f"{exponent:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    for row in metrics["skipped"]:
        lines += ["", f"Skipped: {row['backbone']}, {row['kind']}, {row['frames']:,} frames: {row['reason']}."]
    return "\n".join(lines)


def as_text(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Three panels, both axes logarithmic, one line a backbone."""
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    for axis, (kind, key, label, along) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        lengths = sorted({row["frames"] for row in rows if row["kind"] == kind})
        for name in dict.fromkeys(row["backbone"] for row in rows):
            axis.loglog(*curve(rows, name, kind, key), marker="o", markersize=4, label=name, **line_of(name))
        axis.set(xlabel=along, title=label, xticks=lengths, xticklabels=[f"{n:,}" for n in lengths])
        axis.xaxis.minorticks_off()
    figure.legend(*axis.get_legend_handles_labels(), fontsize="small", loc="outside right upper")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
