"""The few numbers to read first: one table of what was measured, each beside what it has to be compared with.

docs/results/*/result.json -> digest -> README
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agents.comparison import BEATS, UNDECIDED, WORSE
from agents.results import is_of

Result = Mapping[str, Any]
Row = tuple[str, str, str]
"""What was measured, what came out, and what it is compared with."""
FAR = "16"
"""Steps back, for how far features reach."""
Judged = tuple[str, int, tuple[int, ...]]
"""An agent in words, and which of the policies of its result is compared with which."""
JUDGED: dict[str, tuple[Judged, ...]] = {
    "clone_behaviour": (("a clone of recorded walks, by the memory of its own LSTM", 1, (0,)),),
    "clone_features": (
        ("a clone with no memory but the world model's, which was taught by the same teacher", 1, (0,)),
        ("the same with the world model's memory emptied again and again", 2, (1,)),
    ),
    "dream_ppo_from_clone": (("a clone of recorded walks that went on in dreams", -1, (1,)),),
    "dream_ppo_from_features": (("the clone with the world model's memory that went on in dreams", -1, (1,)),),
    "dream_ppo_demo": (
        ("PPO trained only in the dream, by `make demo`", -1, (1,)),
        ("the agent that ships, by `make demo`", 2, (1,)),
    ),
    "dream_ppo_full": (("PPO trained only in the dream, for longer", -1, (1,)),),
    "dream_ppo_1000": (("PPO trained only in the dream, over whole episodes", -1, (1,)),),
    "plan_mpc": (("planning in the dream, with a critic", -1, (0, 1)),),
    "miniworld_dream_ppo": (("PPO trained only in its dream, in MiniWorld", -1, (0,)),),
}
"""Results of agents by their folders."""
OF_OTHERS = ("miniworld_dream_ppo", "memory_benchmark")
"""Results that are not meant to be of the shipped checkpoint."""


def digest(results: Mapping[str, Result], shipped: str) -> str:
    """Return the table, of as many results as are there.

    Args:
        results: By their folders, as their experiments wrote them.
        shipped: Digest of the shipped world model; what is of another says so.
    """
    lines = ["| held out, measured | | beside it |", "|---|---|---|"]
    for name, rows_of in ROWS.items():
        for what, measured, beside in rows_of(results[name]) if name in results else ():
            whose = "" if _is_shipped(name, results[name], shipped) else ", of an earlier checkpoint"
            lines.append(f"| {what}{whose} | {measured} | {beside} |")
    return "\n".join(lines)


def _is_shipped(name: str, result: Result, shipped: str) -> bool:
    """Say whether a result is of the shipped world model, or is not meant to be."""
    return name in OF_OTHERS or is_of(result, shipped)


def _fidelity(result: Result) -> Iterator[Row]:
    """How near dreams stay to reality, what they know of rewards, and how far back they look."""
    metrics = result["metrics"]
    found, told = metrics["dream"]["1"], metrics["reward_events"]
    yield (
        f"PSNR of dreamed frames, the first / all {metrics['horizon']}",
        f"{found['psnr_first']:.1f} / {found['psnr_mean']:.1f} dB",
        f"repeating the last real frame {found['copy_psnr_first']:.1f} / {found['copy_psnr_mean']:.1f} dB",
    )
    yield (
        f"rewards recognised on real frames, of {told['events']}",
        f"{told['recall']:.0%}",
        f"{told['precision']:.0%} of those recognised are real",
    )
    if reach := metrics.get("memory_reach_all_before", {}):
        yield (
            f"change of the features if all frames {FAR} and more steps back were another maze's, against all frames",
            f"{reach[FAR]:.1%}",
            f"all frames but the newest {reach['1']:.0%}",
        )


def _dreamed_rewards(result: Result) -> Iterator[Row]:
    """What of the rewards is dreamed when they came."""
    (row,) = (row for row in result["metrics"]["rows"] if row["denoising_steps"] == 1)
    yield (
        f"rewards dreamed where they came in clips of {result['config']['horizon']} frames, of {row['events']}",
        f"{row['recall']:.0%}",
        f"return of a clip {row['return_dreamed']:.2f} dreamed, {row['return_real']:.2f} real",
    )
    if len(ahead := row.get("recall_ahead", ())) > 1:
        first, *_, last = ahead
        yield (
            f"the same of those that came in the first {first['last']} frames, of {first['events']}",
            f"{first['recall']:.0%}",
            f"in the last {last['last'] - last['first'] + 1}, of {last['events']}, {last['recall']:.0%}",
        )


def _agreement(result: Result) -> Iterator[Row]:
    """Whether returns in dreams are to be trusted."""
    metrics = result["metrics"]
    by_kind = metrics.get("ci95", {})
    span = by_kind.get("policies_and_episodes", by_kind.get("episodes", {})).get("pearson_r")
    yield (
        f"imagined against real returns of {len(metrics['policies'])} policies{_from_where(result['config'])}",
        f"Pearson r {metrics['pearson_r']:.2f}" + (f" ({span[0]:.2f} to {span[1]:.2f})" if span else ""),
        f"mean error {metrics['mae']:.2f}",
    )


def _from_where(config: Mapping[str, Any]) -> str:
    """Say how long they ran, and how near to a reward they began."""
    near = f" from at most {config['lead']} before a reward" if config.get("lead") else ""
    return f", {config['steps']} steps{near}"


def _agent(name: str) -> Callable[[Result], Iterator[Row]]:
    """What agents of a result are paid in reality, against which baseline."""

    def rows(result: Result) -> Iterator[Row]:
        policies = result["metrics"]["policies"]
        for what, judged, baselines in JUDGED[name]:
            ours = policies[judged]
            low, high = ours["real"]["ci95"]
            yield (
                f"real return in {_episode(result)}: {what}",
                f"{ours['real']['mean']:.2f} ({low:.2f} to {high:.2f})",
                "; ".join(
                    f"{verb_of(result, ours['name'], policies[other]['name'])} {policies[other]['name']}, "
                    f"{policies[other]['real']['mean']:.2f}"
                    for other in baselines
                ),
            )

    return rows


def _episode(result: Result) -> str:
    """Say how long an episode was, or could be where some ended earlier."""
    steps = {policy["real"]["steps"] for policy in result["metrics"]["policies"]}
    return f"{steps.pop():,} steps" if len(steps) == 1 else f"at most {result['config']['steps']:,} steps"


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
    """How fast dreams are, as they come and at their best, against real mazes and a diffusion U-Net."""
    rows = result["metrics"]["rows"]
    dreams = [row for row in rows if row["system"] == "dream" and row["denoising_steps"] == 1]
    unet, own = (_fastest(rows, system=name) for name in ("unet_env", "wmgym_maze"))
    stock = next(row for row in rows if row["system"] == "stock_maze")
    for observation in ("pixels", "features"):
        plain, best = (_fastest(dreams, observation=observation, **more) for more in ({"engine": "fast"}, {}))
        yield (
            f"dream steps a second on {stock['batch']} cores, {observation}: by default, and {best['engine']}",
            f"{plain['steps_per_s']:,.0f}, {best['steps_per_s']:,.0f}",
            f"stock maze {stock['steps_per_s']:.0f}, our real maze {own['steps_per_s']:.0f}, a diffusion U-Net "
            f"{unet['steps_per_s']:.0f}",
        )
    age = result["metrics"]["age"]
    longer = age["old_ms"] / age["young_ms"] - 1
    yield (
        "a step of one dream alone, features, by default",
        f"{age['young_ms']:.1f} ms",
        f"after {age['frames']:,} frames {abs(longer):.1%} {'longer' if longer > 0 else 'less'}",
    )


def _fastest(rows: list[Result], **wanted: str) -> Result:
    """Return the fastest of the rows that are as wanted."""
    return max(
        (row for row in rows if all(row.get(key) == value for key, value in wanted.items())),
        key=lambda row: float(row["steps_per_s"]),
    )


def _memory(result: Result) -> Iterator[Row]:
    """What the design remembers, on the small world on which memory can be checked."""
    if "intervals" not in result["metrics"]:
        return  # of one training
    scores = result["metrics"]["intervals"]["TextureWorld"]["retrieval"]
    low, high = scores["lssvwm"]["ci95"]
    others = {
        "lssvwm, scan cleared": "its scan states cleared",
        "causal_window": "attention to 12 frames",
        "causal": "attention to all",
    }
    yield (
        "a way back recalled on a small world (docs/memory.md), PSNR, small LSSVWM",
        f"{scores['lssvwm']['psnr']:.1f} dB ({low:.1f} to {high:.1f})",
        ", ".join(f"{told} {scores[name]['psnr']:.1f}" for name, told in others.items()),
    )


ROWS: dict[str, Callable[[Result], Iterator[Row]]] = {
    "evaluate_world_model": _fidelity,
    "denoising_steps": _dreamed_rewards,
    "imagined_vs_real": _agreement,
    **{name: _agent(name) for name in JUDGED},
    "bench_dream": _speed,
    "memory_benchmark": _memory,
}
"""Rows by the folder of the result that they are of."""
