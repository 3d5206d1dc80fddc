"""The memory benchmark as a table, and who in it is ahead of whom, beside what the paper reports."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wmgym.memory_scores import ENOUGH_RUNS, Numbers, compare, pooled

PAPER = {
    "causal": (32.6, 0.914, 28.8, 0.860), "lssvwm": (30.8, 0.898, 28.2, 0.855),
    "causal_window": (26.4, 0.829, 27.1, 0.839), "mamba2": (20.4, 0.747, 26.4, 0.827),
    "mamba2_local": (19.3, 0.735, 27.5, 0.845), "lssvwm_block1": (None, None, 23.1, 0.766),
    "lssvwm_no_clean": (None, None, 25.3, 0.809),
}  # fmt: skip
"""PSNR and SSIM of retrieval (400 + 400 frames), then of reasoning (576 + 224): arXiv:2505.20171, Tables 2, 3 and 5."""
CLEARED = "lssvwm, scan cleared"
"""LSSVWM whose scan states are set to zero after the last frame shown."""
REFERENCES = ("last frame", "mean frame", "nearest by pose", "tokenizer")
"""What stands beside the models: two answers that remember nothing, the frame a perfect lookup would find, and the best
that the tokenizer can show."""
ORDER = (
    ("causal", "lssvwm"), ("lssvwm", "causal_window"), ("lssvwm", "mamba2_local"), ("lssvwm", "mamba2"),
    ("lssvwm", "lssvwm_block1"), ("lssvwm", "lssvwm_no_clean"), ("lssvwm", CLEARED),
)  # fmt: skip
"""Who is expected to be ahead of whom."""
REVISITED = "reasoning, revisited"
"""Reasoning scored on places and directions that were shown: the others can only be guessed."""
Errors = Mapping[tuple[str, str], Sequence[Numbers]]
"""By what was asked and by system: by run, `(episodes, frames)` squared errors; NaN does not count."""


def read_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what `merge` takes as earlier metrics.

    Raises:
        KeyError: They are not of the memory benchmark.
    """
    if not all({"world", "task", "backbone"} <= row.keys() for row in metrics["rows"]):
        raise KeyError("world, task or backbone of a row")
    return {key: metrics[key] for key in ("rows", "intervals", "order")} | {"notes": metrics.get("notes", {})}


def merge(
    earlier: dict[str, Any], world: str, rows: list[dict[str, Any]], errors: Errors, notes: list[str], seed: int
) -> dict[str, Any]:
    """Return the metrics of one world beside those of others.

    Args:
        earlier: Those of others, as `read_metrics` gives them; what they say of this world is replaced.
        world: Its name.
        rows: One for each task and run, as `wmgym.memory_scores.score` gives them, and what was asked of whom.
        errors: The same in full.
        notes: What to say above the table.
        seed: Fixes the intervals.
    """
    asked = list(dict.fromkeys(task for task, _ in errors))
    intervals = {t: {name: pooled(found, seed) for (of, name), found in errors.items() if of == t} for t in asked}
    order = {
        task: {
            f"{a} > {b}": compare(errors[task, a], errors[task, b], seed, paired=b == CLEARED)
            for a, b in ORDER
            if (task, a) in errors and (task, b) in errors
        }
        for task in asked
    }
    return {
        "rows": [row for row in earlier["rows"] if row["world"] != world] + rows,
        "intervals": earlier["intervals"] | {world: intervals},
        "order": earlier["order"] | {world: order},
        "notes": earlier["notes"] | {world: notes},
    }


def as_markdown(metrics: dict[str, Any], world: str) -> str:
    """Return one line a system in a world, and the order that was expected."""
    rows = [row for row in metrics["rows"] if row["world"] == world]
    asked = {row["task"]: f"{row['context']} + {row['generated']}" for row in rows}
    extra = ["LPIPS"] if "lpips" in rows[0] else []
    titles = ["system", "seeds", "parameters", "KB kept", "steps", "frames", "minutes"]
    titles += ["retrieval PSNR (95 %)", "SSIM", *extra, "paper, retrieval"]
    titles += ["reasoning PSNR (95 %)", "revisited", "turned", "new", "SSIM", *extra, "paper, reasoning"]
    lines = [
        f"**{world}**: retrieval {asked['retrieval']} frames, reasoning {asked['reasoning']}; PSNR in dB of the mean "
        "squared error, with 95 % intervals over trainings and episodes (of one seed over episodes only); minutes of "
        "one core that others may have shared. The paper's columns (PSNR / SSIM) are of its own maze, 400 + 400 and "
        "576 + 224 frames, 200M parameters.",
        "",
        *(f"{note}\n" for note in metrics["notes"].get(world, [])),
        "| " + " | ".join(titles) + " |",
        "|" + "---|" * len(titles),
    ]
    found = metrics["intervals"][world]
    for name in sorted(found["retrieval"], key=lambda n: (n in REFERENCES, -found["retrieval"][n]["psnr"])):
        runs = [row for row in rows if (row["backbone"], row["task"]) == (name, "retrieval")]
        cells = [name, "", "", "", "", "", ""]
        if name not in REFERENCES:
            kept = "grows" if runs[0]["memory_bytes"] is None else f"{runs[0]['memory_bytes'] / 1000:,.0f}"
            trained = [_mean(runs, f"{key}_trained") for key in ("steps", "frames", "minutes")]
            cells = [name, f"{len(runs)}", f"{runs[0]['parameters']:,}", kept]
            cells += [f"{trained[0]:,.0f}", f"{trained[1]:,.0f}", f"{trained[2]:.1f}"]
        paper = PAPER.get(name, (None,) * 4)
        for task, known in (("retrieval", paper[:2]), ("reasoning", paper[2:])):
            of_task = [row for row in rows if (row["backbone"], row["task"]) == (name, task)]
            at = found[task][name]
            cells.append(f"{at['psnr']:.2f}" + (" ({:.2f} to {:.2f})".format(*at["ci95"]) if at["ci95"] else ""))
            kinds = ("revisited", "turned", "new") if task == "reasoning" else ()
            cells += [_cell(_pooled_psnr(of_task, f"psnr_{kind}"), ".2f") for kind in kinds]
            cells += [_cell(_mean(of_task, key.lower()), ".3f") for key in ("SSIM", *extra)]
            cells.append(f"{known[0]} / {known[1]}" if known[0] else "")
        lines.append("| " + " | ".join(cells) + " |")
    for task, pairs in metrics["order"][world].items():
        if pairs:
            shown = f"the interval excludes 0, of {ENOUGH_RUNS} seeds or more"
            lines += ["", f"Expected order, {task}, dB ahead (shown: {shown}):", ""]
        lines += [f"- {pair}: {_verdict(ahead)}" for pair, ahead in pairs.items()]
    return "\n".join(lines)


def _verdict(ahead: dict[str, Any]) -> str:
    db, low, high = (f"{round(v, 2) + 0.0:+.2f}" for v in (ahead["db"], *(ahead["ci95"] or (math.nan, math.nan))))
    few = f"too few seeds ({min(ahead['runs'])})" if min(ahead["runs"]) < ENOUGH_RUNS else "not shown"
    return f"{db} ({low} to {high}): {'shown' if ahead['shown'] else few}"


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float:
    values = [row[key] for row in rows if row.get(key) is not None]
    return float(np.mean(values)) if values else math.nan


def _pooled_psnr(rows: Sequence[dict[str, Any]], key: str) -> float:
    """Of the average error: the runs of a system have equally many frames of a kind."""
    errors = [10 ** (-row[key] / 10) for row in rows if row.get(key) is not None]
    return -10 * math.log10(np.mean(errors)) if errors else math.nan


def _cell(value: float, form: str) -> str:
    return "" if math.isnan(value) else f"{value:{form}}"
