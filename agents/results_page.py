"""What every agent scored, as a page: returns in both worlds, against whom, verdicts and failures.

docs/results/*/result.json -> find_results -> page, agreement_table
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.comparison import BEATS, UNDECIDED, WORLDS, WORSE, outcome
from agents.planner_guides import PRIOR_ALONE
from agents.results import RESULT_FILE, is_of
from agents.run_sections import command_of

HEADER = (
    "run", "agent", "learned from", "world model", "seed", "dream return", "real return", "against the baseline, real",
    "minutes",
)  # fmt: skip
MEASURES = {
    "pearson_r": "Pearson r, at best 1",
    "spearman": "Spearman rank correlation, at best 1",
    "mmrv": "mean maximum rank violation: real return at stake where the dream misorders policies, at best 0",
    "mae": "mean absolute error of imagined returns, at best 0",
    "regret_at_1": "regret: real return lost by taking the best in dreams, at best 0",
}
"""How well imagined and real returns agree, by key of the metrics."""
INTERVALS = {"episodes": "95 %, other episodes", "policies_and_episodes": "95 %, other policies too"}


def page(results: Mapping[str, Mapping[str, Any]], folder: Path, shipped: str) -> str:
    """Return all agents in one table, then run by run plots and verdicts.

    Args:
        results: As `agents.found_results.find_results` returns them.
        folder: Of the results; the page lies beside it.
        shipped: Digest of the shipped world model.
    """
    rows = [row for name, result in results.items() for row in _rows(name, result, folder, shipped)]
    return "\n\n".join(
        [
            _balance(results),
            "\n".join(["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER), *rows]),
            *(_section(name, result, folder, shipped) for name, result in results.items()),
        ]
    )


def agreement_table(result: Mapping[str, Any]) -> str | None:
    """Return how well imagined and real returns agree, with intervals as far as there are any; None if not measured."""
    metrics = result["metrics"]
    measured = [key for key in MEASURES if key in metrics]
    if not measured:
        return None
    by_kind = metrics.get("ci95", {})
    kinds = [kind for kind in INTERVALS if kind in by_kind]
    dropped = metrics.get("drop_one")
    heads = ["measure", "value", *(INTERVALS[kind] for kind in kinds), *(["without one policy"] if dropped else [])]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for key in measured:
        spans = [by_kind[kind].get(key) for kind in kinds]
        spans += [(dropped.get(key) or {}).get("range")] if dropped else []
        why = metrics.get("undefined", {}).get(key, "not said why")
        value = f"undefined: {why}" if metrics[key] is None else f"{metrics[key]:.2f}"
        ends = [f"{span[0]:.2f} to {span[1]:.2f}" if span else "undefined" for span in spans]
        lines.append("| " + " | ".join([MEASURES[key], value, *ends]) + " |")
    return "\n".join(lines)


def _rows(name: str, result: Mapping[str, Any], folder: Path, shipped: str) -> list[str]:
    """Return the row of each policy of a run."""
    metrics, world_model = result["metrics"], result["config"]["world_model"]
    links = [f"[{name}]({folder.name}/{name}/{RESULT_FILE})"]
    links += [f"[plot]({folder.name}/{name}/{plot.name})" for plot in _plots(folder / name)]
    which = "shipped" if is_of(result, shipped) else f"another, {world_model[:8]}"
    return [
        "| "
        + " | ".join(
            [
                ", ".join(links),
                policy["name"],
                learned_from(result, policy["name"]),
                which,
                str(result["seed"]),
                *(_score(policy.get(world)) for world in WORLDS),
                _against(metrics, policy),
                f"{result['minutes']:.0f}",
            ]
        )
        + " |"
        for policy in metrics["policies"]
    ]


def learned_from(result: Mapping[str, Any], name: str) -> str:
    """Say what a policy of a run learned from, as far as the result tells."""
    metrics, config = result["metrics"], result["config"]
    scripted = [policy["name"] for policy in config.get("policies", []) if "scripted" in policy]
    beside = config.get("beside_are", {}).get(name)
    if name.startswith("random") or name in scripted or (beside and "scripted" in beside):
        return "nothing"
    if beside:
        return f"before this run (weights {beside['weights'][:8]})"
    if training := metrics.get("training"):
        before = f", after {Path(config['start_from']).name}" if config.get("start_from") else ""
        return f"{training['steps']:,} steps in dreams, {training['minutes']:.0f} minutes{before}"
    if "frames" in metrics and config.get("recordings"):
        return f"{metrics['frames']:,} recorded frames ({', '.join(Path(each).name for each in config['recordings'])})"
    if "planning" in metrics:
        parts = [part for part in ("critic", "prior") if config.get(part) and not name.endswith(f"without {part}")]
        helped = [f"{part} {Path(config[part].split()[0]).name}" for part in parts]
        if name == PRIOR_ALONE:
            return f"as {helped[-1].removeprefix('prior ')} did"
        return f"{' and '.join(helped) or 'nothing'}; plans in dreams"
    return "not said"


def _score(summary: Mapping[str, Any] | None) -> str:
    """Return one return as the table has it."""
    if summary is None:
        return "not measured"
    low, high = summary["ci95"]
    return f"{summary['mean']:.2f} [{low:.2f}, {high:.2f}], {summary['episodes']} x {summary['steps']}"


def _difference(metrics: Mapping[str, Any], policy: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return by how much a policy's real return exceeds the first one's, if its run compared them."""
    compared = {row["name"]: row.get("real") for row in metrics.get("differences", [])}
    found: Mapping[str, Any] | None = compared.get(policy["name"])
    return found


def _against(metrics: Mapping[str, Any], policy: Mapping[str, Any]) -> str:
    """Say how a policy did against the first of its run; what is no success stands in bold."""
    first = metrics["policies"][0]
    if policy is first and "differences" in metrics:
        return "baseline"
    if (difference := _difference(metrics, policy)) is None:
        return "not compared"
    says, (low, high) = outcome(difference), difference["ci95"]
    says = says if says == BEATS else f"**{says}**"
    return f"{says} {first['name']}: {difference['mean']:+.2f} [{low:+.2f}, {high:+.2f}]"


def _balance(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Count successes and failures."""
    differences = [
        _difference(result["metrics"], policy)
        for result in results.values()
        for policy in result["metrics"]["policies"]
        if policy["name"] not in result["config"].get("beside_are", {})  # which is measured again and again
    ]
    told = Counter(outcome(difference) for difference in differences if difference is not None)
    return (
        f"Runs: {len(results)}. Policies compared with the baseline of their run in reality: {told.total()}. "
        f"They beat it: {told[BEATS]}; not shown to differ: {told[UNDECIDED]}; worse: {told[WORSE]}."
    )


def _section(name: str, result: Mapping[str, Any], folder: Path, shipped: str) -> str:
    """Return what a run says in words and pictures."""
    told = result.get("commit") or ""
    commit = f", commit {told[:9]}{'+' if told.endswith('+') else ''}" if told else ""
    of_then = not result["config"].get("checkpoint") and not is_of(result, shipped)
    whose = " It means the checkpoint that shipped then." if of_then else ""
    parts = [f"## {name}\n\n`{command_of(result)}`, seed {result['seed']}{commit}.{whose}"]
    if table := agreement_table(result):
        parts.append(table)
    if verdicts := result["metrics"].get("verdicts"):
        parts.append("\n".join(f"- {_plainly(sentence)}" for sentence in verdicts))
    parts += [f"![{plot.stem}]({folder.name}/{name}/{plot.name})" for plot in _plots(folder / name)]
    return "\n\n".join(parts)


def _plots(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))


def _plainly(sentence: str) -> str:
    """Set what is no success in bold."""
    for says in (UNDECIDED, WORSE):
        sentence = sentence.replace(f" {says} ", f" **{says}** ", 1)
    return sentence
