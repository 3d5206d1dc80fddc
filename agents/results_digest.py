"""The few numbers to read first: one table of what was measured, each beside what it has to be compared with.

docs/results/*/result.json -> digest -> README
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agents.comparison import BEATS, UNDECIDED, WORSE, said_steps

Result = Mapping[str, Any]
Row = tuple[str, str, str]
"""What was measured, what came out, and what it is compared with."""
JUDGED = {
    "clone_behaviour": ("a teacher's walks cloned, no step taken in a maze", 1, 0),
    "dream_ppo_full": ("PPO trained only in the dream", -1, 1),
    "dream_ppo_1000": ("PPO trained only in the dream, whole episodes", -1, 1),
    "plan_mpc": ("planning in the dream, with a critic", -1, 0),
    "miniworld_dream_ppo": ("PPO trained only in its dream, in MiniWorld", -1, 0),
}
"""Results of agents by their folders: in words, and which of their policies is compared with which."""


def digest(results: Mapping[str, Result]) -> str:
    """Return the table, of as many results as are there.

    Args:
        results: By their folders, as their experiments wrote them.
    """
    rows = [row for name, rows_of in ROWS.items() if name in results for row in rows_of(results[name])]
    lines = ["| held out, measured | | beside it |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _fidelity(result: Result) -> Iterator[Row]:
    """How near dreams stay to reality, what they know of rewards, and how far back they look."""
    metrics = result["metrics"]
    found, told, reach = metrics["dream"]["1"], metrics["reward_events"], metrics["memory_reach"]
    yield (
        f"PSNR of dreamed frames, the first / all {metrics['horizon']}",
        f"{found['psnr_first']:.1f} / {found['psnr_mean']:.1f} dB",
        f"repeating the last real frame {found['copy_psnr_first']:.1f} / {found['copy_psnr_mean']:.1f} dB",
    )
    yield (
        f"rewards told on real frames, of {told['events']}",
        f"{told['recall']:.0%}",
        f"{told['precision']:.0%} of those told are real",
    )
    yield (
        "how much of the features a frame 16 steps back decides",
        f"{reach['16']:.1%}",
        f"the last one {reach['1']:.0%}: the shipped memory is short",
    )


def _agreement(result: Result) -> Iterator[Row]:
    """Whether returns in dreams are to be trusted."""
    metrics = result["metrics"]
    span = metrics.get("ci95", {}).get("episodes", {}).get("pearson_r")
    yield (
        f"imagined against real returns of {len(metrics['policies'])} policies, {result['config']['steps']} steps",
        f"Pearson r {metrics['pearson_r']:.2f}" + (f" ({span[0]:.2f} to {span[1]:.2f})" if span else ""),
        f"mean error {metrics['mae']:.2f}",
    )


def _agent(name: str) -> Callable[[Result], Iterator[Row]]:
    """What an agent is paid in reality, against which baseline."""
    what, judged, baseline = JUDGED[name]

    def row(result: Result) -> Iterator[Row]:
        policies = result["metrics"]["policies"]
        ours, theirs = policies[judged], policies[baseline]
        low, high = ours["real"]["ci95"]
        yield (
            f"real return in {said_steps([{'real': ours['real']}])}: {what}",
            f"{ours['real']['mean']:.2f} ({low:.2f} to {high:.2f})",
            f"{verb_of(result, ours['name'], theirs['name'])} {theirs['name']}, {theirs['real']['mean']:.2f}",
        )

    return row


def verb_of(result: Result, name: str, baseline: str) -> str:
    """Return the verb with which a result judges a policy against another.

    Raises:
        ValueError: It does not judge the two.
    """
    for verb in (BEATS, WORSE, UNDECIDED):
        if any(f"environment, {name} {verb} {baseline}:" in verdict for verdict in result["metrics"]["verdicts"]):
            return verb
    raise ValueError(
        f"no verdict on {name} against {baseline} found, expected one in metrics.verdicts. Likely cause: policies in "
        "another order than when agents.results_digest.JUDGED was written."
    )


def _speed(result: Result) -> Iterator[Row]:
    """How fast dreams are, at their best, against the real maze and a diffusion U-Net."""
    rows = [row for row in result["metrics"]["rows"] if row["system"] == "dream" and row["denoising_steps"] == 1]
    for observation in ("pixels", "features"):
        best = max((row for row in rows if row["observation"] == observation), key=lambda row: row["steps_per_s"])
        yield (
            f"dream steps a second, {observation}, {best['batch']} at once, on {_cores(result)}",
            f"{best['steps_per_s']:,.0f}",
            f"{best['against_stock']:.0f} times the stock maze, {best['against_unet']:.0f} times a diffusion U-Net",
        )
    alone = min(row["latency_ms"] for row in rows if row["batch"] == 1 and row["observation"] == "pixels")
    age = result["metrics"]["age"]
    longer = age["old_ms"] / age["young_ms"] - 1
    yield (
        "one dream alone, a step of pixels",
        f"{alone:.1f} ms",
        f"after {age['frames']:,} frames {abs(longer):.1%} {'longer' if longer > 0 else 'less'}",
    )


def _cores(result: Result) -> str:
    """On how many cores: the stock maze runs in as many processes."""
    stock = next(row for row in result["metrics"]["rows"] if row["system"] == "stock_maze")
    return f"{stock['batch']} cores"


def _memory(result: Result) -> Iterator[Row]:
    """What the design remembers, on the small world on which memory can be checked."""
    if "intervals" not in result["metrics"]:
        return  # of one training
    scores = result["metrics"]["intervals"]["TextureWorld"]["retrieval"]
    low, high = scores["lssvwm"]["ci95"]
    others = {"lssvwm, scan cleared": "scan cleared", "causal_window": "limited context", "causal": "full attention"}
    yield (
        "a way back recalled on a small world, small LSSVWM",
        f"{scores['lssvwm']['psnr']:.1f} dB ({low:.1f} to {high:.1f})",
        ", ".join(f"{told} {scores[name]['psnr']:.1f}" for name, told in others.items()),
    )


ROWS: dict[str, Callable[[Result], Iterator[Row]]] = {
    "evaluate_world_model": _fidelity,
    "imagined_vs_real": _agreement,
    **{name: _agent(name) for name in JUDGED},
    "bench_dream": _speed,
    "memory_benchmark": _memory,
}
"""Rows by the folder of the result that they are of."""
