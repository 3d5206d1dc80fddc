"""Time our state-space scan against the public ones, forward and backward, in one run on one machine.

    python experiments/bench_scan.py --mamba2-minimal mamba2.py

Two contests a shape. `scan`: the operation alone, from x * dt, dt * A, B and C to y, against `ssd` of mamba2-minimal
and the scan of newer transformers; on a GPU also the kernels of mamba-ssm and fla. `mixer`: transformers' `Mamba2Mixer`
(of older ones, its `torch_forward`) against the same with the same weights around `chunked_scan`. Ours is torch only.

All must give our outputs and gradients at every chunk size before anything is timed. Then they take turns, and a row is
the median at the chunk size fastest for its system and direction. What is not installed is left out, and told.

Beside the times stands the floor: the operations of our matrix products (masked pairs of tokens and, of mixers, the
convolution included) at the chunk size with fewest, over the rate of a large product, measured in every round and again
the median. That is what ours would take if it did nothing else, and its small products ran like large ones.
"""

import hashlib
import math
import runpy
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import tyro
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from agents.results import write_result
from model import mamba_kernels
from model.ssm import chunked_scan
from wmgym.arguments import check_ranges
from wmgym.floors import counted_operations, measure_matmul
from wmgym.plain_errors import plain_errors

OURS, MINIMAL = "ours", "mamba2-minimal"
PUBLIC = {  # where each is found, and how to have it
    MINIMAL: (None, "pass --mamba2-minimal the mamba2.py of https://github.com/tommyip/mamba2-minimal"),
    "transformers": ("transformers.models.mamba2.modeling_mamba2", "pip install transformers"),
    "mamba-ssm": ("mamba_ssm.ops.triton.ssd_combined", "pip install mamba-ssm"),
    "fla": ("fla.ops.simple_gla", "pip install flash-linear-attention"),
}
Shape = tuple[int, int, int, int, int]
Found = dict[str, tuple[str, Any]]  # version and module of each; of mamba2-minimal, its `ssd`


@dataclass
class Args:
    """Time our state-space scan against the public ones."""

    output: Path = Path("runs/bench_scan")
    """Folder for result.json and result.md."""
    mamba2_minimal: Path | None = None
    """mamba2.py of https://github.com/tommyip/mamba2-minimal; its code is run."""
    shapes: tuple[Shape, ...] = (
        (4, 768, 128, 32, 64), (4, 768, 256, 32, 64), (2, 768, 512, 64, 128), (1, 6400, 128, 32, 64),
    )  # fmt: skip
    """Sequences, tokens of each, width, channels of a head, size of the state: five numbers a shape. The last is 400
    frames of 16 tokens, the length that world models are trained on."""
    chunks: tuple[int, ...] = (16, 32, 64, 128)
    """Chunk sizes of which each system takes its fastest."""
    repeats: int = 7
    """Timings of each system at each chunk size, in turns."""
    tolerance: float = 1e-4
    """How far outputs and gradients may differ from ours, as a share of the largest value."""
    seed: int = 0
    """Fixes inputs and weights."""

    def check(self) -> None:
        """Refuses what cannot be measured."""
        check_ranges(self, {"repeats": (1, 1000), "tolerance": (0, 0.1), "seed": (0, math.inf)})
        pairs = [(shape, chunk) for shape in self.shapes for chunk in self.chunks]
        if not pairs or not all(min(*s, c) > 0 and s[2] % math.lcm(s[3], 2) == s[1] % c == 0 for s, c in pairs):
            raise ValueError(
                f"--shapes {self.shapes} --chunks {self.chunks} given, expected widths that 2 and the head's channels "
                "divide, and tokens that each chunk divides, such as --shapes 4 768 256 32 64 --chunks 32 64."
            )


@dataclass
class Contest:
    """Systems that should compute the same, what from, and the gradient of their output."""

    name: str
    systems: dict[str, Callable[[int], Tensor]]  # from a chunk size to the output
    leaves: dict[str, Tensor]
    gradient: Tensor

    def run(self, name: str, chunk: int) -> tuple[list[Tensor], tuple[float, float, float]]:
        """The output and the gradients of one system, and the seconds forward, backward and both."""
        wait = torch.cuda.synchronize if self.gradient.is_cuda else int  # which does nothing
        started = time.perf_counter()
        y = self.systems[name](chunk)
        wait()
        turned = time.perf_counter()
        gradients = torch.autograd.grad(y, list(self.leaves.values()), self.gradient)
        wait()
        ended = time.perf_counter()
        return [y.detach(), *gradients], (turned - started, ended - turned, ended - started)

    def check_equal(self, chunks: tuple[int, ...], tolerance: float) -> dict[str, float]:
        """Refuses systems that differ from ours; returns the largest difference, as a share of the largest value."""
        largest = dict.fromkeys(self.systems, 0.0)
        parts = ["the output", *(f"the gradient of {leaf}" for leaf in self.leaves)]
        expected, _ = self.run(OURS, chunks[0])
        for name, chunk in [(name, chunk) for name in self.systems for chunk in chunks]:
            for part, value, ours in zip(parts, self.run(name, chunk)[0], expected, strict=True):
                difference = float((value - ours).abs().max() / ours.abs().max())
                if not difference <= tolerance:  # nor may it be NaN
                    raise ValueError(
                        f"{name} at chunk {chunk} does not compute our scan ({self.name}): {part} differs by "
                        f"{difference:.2g} of its largest value, above --tolerance {tolerance:g}. Nothing was timed."
                    )
                largest[name] = max(largest[name], difference)
        return largest

    def operations(self, chunk: int) -> tuple[int, int, int]:
        """Operations of our matrix products and convolutions: forward, backward and both."""
        with counted_operations() as counter:
            y = self.systems[OURS](chunk)
            forward = counter.get_total_flops()
            torch.autograd.grad(y, list(self.leaves.values()), self.gradient)
        both = counter.get_total_flops()
        return forward, both - forward, both

    def rows(self, chunks: tuple[int, ...], repeats: int) -> list[dict[str, Any]]:
        """Times the systems in turns, another first in every round; a row a direction and system."""
        rates = []
        plan, rows = [(name, chunk) for chunk in chunks for name in self.systems], []
        taken: dict[tuple[str, int], list[tuple[float, float, float]]] = {key: [] for key in plan}
        for i in range(repeats):
            rates.append(measure_matmul(torch.float32, self.gradient.device, seconds=0.05))
            for name, chunk in plan[i % len(plan) :] + plan[: i % len(plan)]:
                taken[name, chunk].append(self.run(name, chunk)[1])
        counted, rate = [self.operations(chunk) for chunk in chunks], statistics.median(rates)
        for column, direction in enumerate(("forward", "backward", "both")):
            floor = min(operations[column] for operations in counted) / rate
            medians = {key: statistics.median(seconds[column] for seconds in v) for key, v in taken.items()}
            best = {name: min((medians[name, chunk], chunk) for chunk in chunks) for name in self.systems}
            for name, (seconds, chunk) in best.items():
                row = {"system": name, "shape": self.name, "direction": direction, "chunk": chunk, "seconds": seconds}
                row |= {"against_ours": seconds / best[OURS][0], "against_floor": seconds / floor}
                rows.append(row | {"matmul_gflops": rate / 1e9})
        return rows


def main(args: Args) -> dict[str, Any]:
    """Checks and times every system and returns the result."""
    args.check()
    started = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found, left_out = find_public(args.mamba2_minimal, device)
    with mock.patch.object(mamba_kernels, "usable", return_value=False):  # ours is the torch route
        contests = [c for shape in args.shapes for c in make_contests(shape, found, args.seed, device)]
        if not contests:
            raise ValueError("\n- ".join(["there is nothing to compare our scan with:", *left_out]))
        differences = {c.name: c.check_equal(args.chunks, args.tolerance) for c in tqdm(contests, desc="checks")}
        rows = [row for c in tqdm(contests, desc="times") for row in c.rows(args.chunks, args.repeats)]
    result = write_result(
        args.output, experiment="bench_scan", seed=args.seed, minutes=(time.monotonic() - started) / 60,
        config={key: value for key, value in asdict(args).items() if key not in ("output", "mamba2_minimal")},
        metrics={
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(), "versions": {name: version for name, (version, _) in found.items()},
            "left_out": left_out, "differences": differences, "rows": rows,
        },
    )  # fmt: skip
    (args.output / "result.md").write_text(as_markdown(result["metrics"]) + "\n")
    print(as_markdown(result["metrics"]))
    return result


def find_public(minimal: Path | None, device: torch.device) -> tuple[Found, list[str]]:
    """The public scans that can run here, and why the others cannot."""
    found, left_out = Found(), list[str]()
    for name, (place, install) in PUBLIC.items():
        try:
            if name in ("mamba-ssm", "fla") and device.type != "cuda":
                raise ImportError("its kernels need a GPU")
            if place:
                found[name] = import_module(place.partition(".")[0]).__version__, import_module(place)
            elif minimal:
                checksum = hashlib.sha256(minimal.read_bytes()).hexdigest()
                found[name] = f"sha256 {checksum}", runpy.run_path(str(minimal))["ssd"]
            else:
                raise ImportError("its file was not given")
        except Exception as error:  # broken installations raise many things
            left_out.append(f"{name}: {error}; to have it, {install}")
    if "transformers" in found and not hasattr(found["transformers"][1], "mamba2_chunk_scan"):
        left_out.append("transformers, scan alone: older releases have none; pip install --upgrade transformers")
    return found, left_out


def our_scan(x: Tensor, a: Tensor, b_in: Tensor, c_out: Tensor, chunk: int, scan: Any = chunked_scan) -> Tensor:
    """One stream from an empty state; x is [sequences, tokens, heads, channels]."""
    x, a, b_in, c_out = (v[:, None, :, None] for v in (x, a, b_in, c_out))
    y: Tensor = scan(x, a, b_in, c_out, x.new_zeros(x.shape[0], *x.shape[4:], b_in.shape[-1]), chunk)[0]
    return y[:, 0, :, 0]


def our_mixer(u: Tensor, theirs: Any, chunk: int) -> Tensor:
    """The Mamba2Mixer of transformers from torch functions around our scan, with the weights of one of theirs."""
    inner, state, conv, norm = theirs.intermediate_size, theirs.ssm_state_size, theirs.conv1d, theirs.norm
    projected = functional.linear(u, theirs.in_proj.weight, theirs.in_proj.bias)
    z, mixed, step = projected.split([inner, inner + 2 * state, theirs.num_heads], dim=-1)
    mixed = functional.conv1d(mixed.mT, conv.weight, conv.bias, padding=conv.padding, groups=mixed.shape[-1])
    x, b_in, c_out = functional.silu(mixed[..., : u.shape[1]]).mT.split([inner, state, state], dim=-1)
    x = x.unflatten(-1, (theirs.num_heads, -1))
    step = functional.softplus(step + theirs.dt_bias)
    y = our_scan(x * step[..., None], -theirs.A_log.exp() * step, b_in, c_out, chunk) + theirs.D[:, None] * x
    y = functional.rms_norm(y.flatten(2) * functional.silu(z), (inner,), norm.weight, norm.variance_epsilon)
    return functional.linear(y, theirs.out_proj.weight, theirs.out_proj.bias)


def make_contests(shape: Shape, found: Found, seed: int, device: torch.device) -> list[Contest]:
    """What is to be compared at one shape: scans and mixers, as far as there is one beside ours."""
    sequences, tokens, width, head, state = shape
    heads, modules = width // head, {name: module for name, (_, module) in found.items()}
    contests, text = [], f"{sequences} x {tokens} tokens, width {width}, head {head}, state {state}"
    torch.manual_seed(seed)
    rate = torch.empty(heads).uniform_(1, 16)  # as Mamba-2 starts
    bias = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp().expm1().log()
    step = functional.softplus(torch.randn(sequences, tokens, heads) + bias)
    drawn = [torch.randn(sequences, tokens, heads, head) * step[..., None], -rate * step]
    drawn += torch.randn(2, sequences, tokens, state).unbind()
    x, a, b_in, c_out = (v.to(device).requires_grad_() for v in drawn)
    keys, queries, steps = b_in[:, :, None], c_out[:, :, None], torch.ones_like(a)
    systems: dict[str, Any] = {OURS: lambda chunk: our_scan(x, a, b_in, c_out, chunk)}
    if ssd := modules.get(MINIMAL):
        systems[MINIMAL] = lambda chunk: ssd(x, a, keys, queries, chunk, device=device)[0]
    if scan := getattr(modules.get("transformers"), "mamba2_chunk_scan", None):
        systems["transformers"] = lambda chunk: scan(x, steps, a, keys, queries, chunk)
    if "mamba-ssm" in modules:
        systems["mamba-ssm"] = lambda chunk: our_scan(x, a, b_in, c_out, chunk, mamba_kernels.scan)
    if fla := modules.get("fla"):  # has a chunk size of its own
        pair = [v.expand(-1, -1, heads, -1) for v in (queries, keys)]
        systems["fla"] = lambda chunk: fla.chunk_simple_gla(*pair, x, a, scale=1.0)[0]
    if len(systems) > 1:
        contests.append(Contest(f"scan, {text}", systems, dict(x=x, a=a, B=b_in, C=c_out), torch.randn_like(x)))
    if transformers := modules.get("transformers"):
        sizes = {"num_heads": heads, "head_dim": head, "hidden_size": width // 2, "expand": 2, "state_size": state}
        mixer = transformers.Mamba2Mixer(transformers.Mamba2Config(**sizes, n_groups=1), layer_idx=0).to(device)
        mixer.load_state_dict({"A_log": rate.log(), "dt_bias": bias}, strict=False)
        u = torch.randn(sequences, tokens, width // 2, device=device, requires_grad=True)

        def their_mixer(chunk: int) -> Any:
            mixer.chunk_size = chunk
            return getattr(mixer, "torch_forward", mixer)(u)

        systems = {OURS: lambda chunk: our_mixer(u, mixer, chunk), "transformers": their_mixer}
        contests.append(Contest(f"mixer, {text}", systems, dict(mixer.named_parameters(), u=u), torch.randn_like(u)))
    return contests


def as_markdown(metrics: dict[str, Any]) -> str:
    """The rows as a table, and what is not in it."""
    rates = [row["matmul_gflops"] for row in metrics["rows"]]
    lines = [
        f"{metrics['device']}, {metrics['threads']} thread(s), float32. Above 1 against ours, ours is faster. The "
        "floor is the operations of our matrix products, at the chunk size with fewest, over the rate of a large "
        f"product meanwhile, {min(rates):.0f} to {max(rates):.0f} GFLOP/s.",
        "",
    ]
    lines += ["| shape | direction | system | chunk | ms | against ours | against the floor |", "|" + "---|" * 7]
    for row in metrics["rows"]:
        cells = (row["shape"], row["direction"], row["system"], row["chunk"], f"{1000 * row['seconds']:.1f}")
        multiples = " | ".join(f"{row[name]:.2f}x" for name in ("against_ours", "against_floor"))
        lines.append(f"| {' | '.join(map(str, cells))} | {multiples} |")
    return "\n".join(lines + [f"\nLeft out: {reason}." for reason in metrics["left_out"]])


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
