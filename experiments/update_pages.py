"""Write the numbers on README, checkpoint card and pages from the committed results; none is typed.

    python experiments/update_pages.py

They stand in `docs/results/*/result.json`. What is between `<!-- NAME -->` and `<!-- /NAME -->` is replaced: the few
numbers to read first on README; tables in full on `docs/measurements.md`, agents of the shipped checkpoint only, and
what else is of an earlier one marked so; memory on `docs/memory.md`; every agent, with whose dreams it saw, on
`docs/agents.md`; what its own commands gave on `docs/your_environment.md`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from agents.found_results import find_results
from agents.named_policies import asked_policy
from agents.results import RESULT_FILE, is_of
from agents.results_digest import digest
from agents.results_page import agreement_table, page
from agents.run_sections import SECTIONS, flag, learned_in_dreams, returns, section
from model.checkpoint import weights_digest
from wmgym.plain_errors import plain_errors

RESULTS = Path("docs/results")
AGENTS_PAGE = Path("docs/agents.md")
EACH = f"*/{RESULT_FILE}"
CARD = Path("wmgym/checkpoints/memory-maze-9x9")
OWN_PAGE = Path("docs/your_environment.md")
MEASUREMENTS = Path("docs/measurements.md")
MEMORY_PAGE = Path("docs/memory.md")
READ_AGENTS = (
    f"Every run, failures included: [{AGENTS_PAGE.name}]({AGENTS_PAGE.name}). A difference is shown if its 95 % "
    "interval excludes zero and at least six episodes differ; else a policy is not shown to differ, though the "
    "interval may exclude zero."
)
READ_DIAGNOSIS = (
    "\n\nWhere the current target is, as one knows who remembers all that was seen: in how many of the steps, and how "
    "often the agent does then what the teacher would, on the agent's own walk."
)
READ_AGREEMENT = (
    "\n\nOver whole episodes of 1,000 steps from a first frame, dreams pay next to nothing, whoever acts: see the "
    "imagined returns of the agents above."
)
REHEARSED_AT_FIRST = {"rehearsal_frames": 8, "rehearsal_dreamed": 0.5}
"""What teaching did with the windows that it rehearsed before its records said so."""
KEPT = ("direction", "both")
"""Rows of the table of the scan that are shown."""
WORLDS = {"TextureWorld": "", "MemoryMaze": "WORLD=maze "}
"""Worlds of the memory benchmark, and what `make memory` is told for each."""


@dataclass
class Args:
    """Write the numbers on README, checkpoint card and pages."""

    root: Path = Path(__file__).parent.parent
    """The repository."""


def main(args: Args) -> None:
    """Fills the markers from every result that is there; no page is written before all of them are known."""
    pages: dict[Path, str] = {}
    for path, marker, content in contents(args.root):
        pages[path] = filled(path, pages.get(path) or (args.root / path).read_text(), marker, content)
    for path, text in pages.items():
        (args.root / path).write_text(text)


def contents(root: Path) -> list[tuple[Path, str, str]]:
    """What goes between which markers of which pages."""
    shipped = weights_digest(root / CARD)
    fidelity = fidelity_of(root, shipped)
    agents = find_results(root / RESULTS)
    found = {path.parent.name: result_of(root, path.parent.name) for path in (root / RESULTS).glob(EACH)}
    record = read_json(root / CARD / "training.json")
    parts = [
        (AGENTS_PAGE, "agents", page(agents, root / RESULTS, shipped)),
        (MEASUREMENTS, "results", "\n\n".join(measurements(root, agents, shipped, fidelity))),
        (MEMORY_PAGE, "memory", "\n\n".join(memories(root, shipped))),
        (Path("README.md"), "digest", digest(found | agents, shipped)),
        (CARD / "README.md", "numbers", fidelity or "Not measured."),
        (CARD / "README.md", "recipe", recipe(record)),
    ]
    return parts + ([(OWN_PAGE, "room", of_room(root, agents["room_dream_ppo"]))] if "room_dream_ppo" in agents else [])


def measurements(root: Path, agents: dict[str, dict[str, Any]], shipped: str, fidelity: str | None) -> list[str]:
    """How good the shipped checkpoint is, what agents make of it, and how fast all is; tables in full."""
    parts = []
    if fidelity:
        command = "experiments/evaluate_world_model.py --recordings recordings/test"
        parts += ["## Dreams against held-out mazes", f"`{command}`", fidelity]
    parts += ["## Agents", READ_AGENTS] if agents else []
    parts += [section(name, agents[name]) for name in SECTIONS if name in agents and is_of(agents[name], shipped)]
    if others := [name for name in SECTIONS if name in agents and not is_of(agents[name], shipped)]:
        parts.append(
            f"Agents of earlier checkpoints are in [{AGENTS_PAGE.name}]({AGENTS_PAGE.name}): {', '.join(others)}."
        )
    if diagnosis := table_of(root, "diagnose_agent"):
        result = result_of(root, "diagnose_agent")
        config, whose = result["config"], "" if is_of(result, shipped) else ", of an earlier checkpoint"
        named = " ".join(map(asked_policy, config["policies"]))
        more = " ".join(flag(name, config[name]) for name in ("teachers", "episodes", "bursts") if config.get(name))
        parts += [f"### What agents fail at, in {config['mazes']} mazes{whose}"]
        parts += [f"`experiments/diagnose_agent.py --policies {named} {more}`", diagnosis + READ_DIAGNOSIS]
    return parts + agreements(agents, shipped, root) + speeds(root)


def fidelity_of(root: Path, shipped: str) -> str | None:
    """How near dreams of the shipped world model are to reality, if that was measured.

    Raises:
        ValueError: It was measured of another one.
    """
    table = table_of(root, "evaluate_world_model")
    if table and not is_of(result := result_of(root, "evaluate_world_model"), shipped):
        found = result["config"].get("world_model")
        raise ValueError(
            f"{RESULTS / 'evaluate_world_model' / RESULT_FILE} is of world model {found}, expected "
            f"the shipped one, {shipped[:16]}. Run evaluate_world_model.py again with the shipped checkpoint."
        )
    return table


def memories(root: Path, shipped: str) -> list[str]:
    """What systems remember, what a checkpoint's memory knows of a maze, and what memory costs."""
    parts = []
    if memory := table_of(root, "memory_benchmark"):
        parts += ["## What nine systems remember", f"`{memory_command(result_of(root, 'memory_benchmark'))}`", memory]
    if probes := table_of(root, "map_probes"):
        config = result_of(root, "map_probes")["config"]
        command = "experiments/map_probes.py --recordings recordings/train --test recordings/test"
        command += f" --walkers {config['walkers']}" if config["walkers"] else ""
        whose = "the shipped" if is_of(result_of(root, "map_probes"), shipped) else "an earlier"
        parts += [f"## What {whose} checkpoint's memory knows of a maze", f"`{command}`", probes]
    if costs := table_of(root, "efficiency"):
        parts += ["## What memory costs", "`experiments/efficiency.py`", costs]
    return parts


def agreements(agents: dict[str, dict[str, Any]], shipped: str, root: Path) -> list[str]:
    """How well returns in dreams agree with real ones, wherever that was measured."""
    parts = []
    for name, result in agents.items():
        if table := agreement_table(result):
            which = "" if is_of(result, shipped) else ", of an earlier checkpoint"
            title = f"Imagined against real returns of {len(result['metrics']['policies'])} policies{which}"
            parts += [f"### {title}", f"[{name}](results/{name}/result.json)"]
            parts += [conditions(result), table + READ_AGREEMENT]
            parts += [f"![imagined and real returns](results/{name}/{plot.name})" for plot in plots(root, name)]
    return parts


def conditions(result: dict[str, Any]) -> str:
    """From where and how long policies ran to be compared."""
    config, (first, *_) = result["config"], result["metrics"]["policies"]
    counts = f"{first['imagined']['episodes']} dreamed and {first['real']['episodes']} real episodes a policy"
    start = "from a first frame"
    if "first_and_last_maze" in config:
        near = f", at most {config['lead']} steps before a reward of that walk" if config["lead"] else ""
        start = f"from moments of recorded walks in held-out mazes{near}; a dream is shown {config['context']} frames"
    names = ", ".join(policy["name"] for policy in result["metrics"]["policies"])
    command = "The command: [Train agents](../README.md#train-agents)."
    return f"{counts}, {config['steps']} steps long, {start}. Policies: {names}. {command}"


def plots(root: Path, name: str) -> list[Path]:
    """The plots of a committed result."""
    return sorted((root / RESULTS / name).glob("*.png"))


def speeds(root: Path) -> list[str]:
    """How fast dreams, training and the scan are; the rows to read first, and where all are."""
    parts = []
    if speed := table_of(root, "bench_dream", "summary.md"):
        given = ("engines", "batches", "denoising_steps", "seconds", "frames")
        picture = "![steps a second over batches and denoising steps](results/bench_dream/speed.png)"
        parts += [heading("Speed of dreams", root, "bench_dream", given), speed, picture]
    if samplers := table_of(root, "denoising_steps"):
        picture = "![quality over the time of a step](results/denoising_steps/quality.png)"
        title = heading("Denoising steps", root, "denoising_steps", ("episodes",), "--recordings recordings/test")
        parts += [title, samplers, picture]
    if training := table_of(root, "bench_training"):
        given = ("preset", "windows", "frames_per_step", "seconds")
        parts += [heading("Speed of training", root, "bench_training", given), training]
    if scans := table_of(root, "bench_scan"):
        both = [line for line in scans.splitlines() if not line.startswith("| ") or line.split("|")[2].strip() in KEPT]
        title = "The scan against public implementations, forward and backward"
        parts += [heading(title, root, "bench_scan", ("chunks", "repeats"), "--mamba2-minimal mamba2.py")]
        parts.append("\n".join(both))
    return ["## Speed", *parts] if parts else []


def heading(title: str, root: Path, name: str, given: tuple[str, ...], more: str = "") -> str:
    """Title, command and full result of an experiment whose first rows follow."""
    config = result_of(root, name)["config"]
    command = " ".join(filter(None, [f"experiments/{name}.py", more, *(flag(key, config[key]) for key in given)]))
    shipped = weights_digest(root / CARD)
    if "world_model" in config and not is_of(result_of(root, name), shipped):
        title += ", of an earlier checkpoint"
    return f"### {title}\n\nOne run, `{command}`; [all rows](results/{name}/result.md)."


def result_of(root: Path, name: str) -> dict[str, Any]:
    """A committed result."""
    return read_json(root / RESULTS / name / RESULT_FILE)


def read_json(path: Path) -> dict[str, Any]:
    """What a file of JSON says.

    Raises:
        ValueError: It is none.
    """
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}), expected an object of JSON. Copy it anew.") from error


def table_of(root: Path, name: str, file: str = "result.md") -> str | None:
    """The table an experiment wrote beside its committed result, if there is one."""
    path = root / RESULTS / name / file
    return path.read_text().rstrip() if path.exists() else None


def memory_command(result: dict[str, Any]) -> str:
    """What trains and measures the systems of a memory benchmark; several commands if some have more seeds."""
    commands = []
    for world, setting in WORLDS.items():
        trained = [row for row in result["metrics"]["rows"] if row["world"] == world and row["seed"] is not None]
        steps = sorted({row["steps_trained"] for row in trained})
        if len(steps) > 1 or (not steps and world == "TextureWorld"):
            raise ValueError(
                f"memory_benchmark has {world} runs of {steps} steps, expected one number, as `make memory` trains all "
                "of them. Likely cause: runs of several STEPS, or of an earlier release. Measure runs of one folder."
            )
        systems: dict[str, list[str]] = {}
        for name in dict.fromkeys(row["backbone"] for row in trained if "," not in row["backbone"]):
            seeds = " ".join(map(str, sorted({row["seed"] for row in trained if row["backbone"] == name})))
            systems.setdefault(seeds, []).append(name)
        commands += [
            f'make memory {setting}STEPS={steps[0]} SEEDS="{seeds}" SYSTEMS="{" ".join(names)}"'
            for seeds, names in systems.items()
        ]
    return " && ".join(commands)


def of_room(root: Path, agent: dict[str, Any]) -> str:
    """What the commands of the page on one's own environment gave: agent and world model."""
    found = result_of(root, "room_world_model")["metrics"]
    told = ", ".join(
        f"{found[key]['recall']:.0%} of the {name} ({found[key]['precision']:.0%} of those that it told were real)"
        for key, name in (("reward_events", "rewards"), ("ends", "ends"))
    )
    return "\n\n".join(
        [
            f"The agent ([all of it](results/room_dream_ppo/result.json)). {learned_in_dreams(agent['metrics'])}",
            returns(agent),
            f"The world model ([all of it](results/room_world_model/result.md)), on real frames, told {told}.",
        ]
    )


def recipe(record: dict[str, Any]) -> str:
    """How the checkpoint was trained, from the record its training wrote."""
    runs = [record]
    while "start_from" in runs[0]:
        runs.insert(0, runs[0]["start_from"])
    lines: list[str] = []
    for tokenizer in [run["tokenizer"] for run in runs if "tokenizer" in run]:
        what = "Decoder, anew for its latents" if tokenizer["settings"].get("encoder_of") else "Tokenizer"
        done = tokenizer["progress"]
        line = f"- **{what}**: {done['seconds'] / 60:.0f} minutes, {done['frames']:,} frames."
        lines += [line] if line not in lines else []
    for i, run in enumerate(runs):
        told = taught_run_of(run) if "teacher" in run["settings"] else run_of(run)
        lines.append(f"- **World model**, run {i + 1} of {len(runs)}: {told}")
    return "\n".join([*lines, f"- Settings and versions: `training.json`; torch {record['versions']['torch']}."])


def run_of(record: dict[str, Any]) -> str:
    """One training run of the world model in a line."""
    done, settings = record["progress"], record["settings"]
    optimizer = "Muon and AdamW" if settings["muon"] else "AdamW"
    stages = ", ".join(f"{frames} frames until {until:.0%} of the time" for until, frames in settings["stages"])
    share = settings.get("dreamed_share", 0) if settings["mode"] == "clean_past" else 0
    dreams = f"; {share:.0%} of the windows remember own predictions or dreams" if share else ""
    changes = "".join(
        f" From step {change['step']:,} on `{change['setting']}` was {change['to']}."
        for change in record.get("changed_settings", [])
    )
    kept = ", ".join(map(str, settings.get("keep_layers") or ()))
    changes += f" It started as layers {kept} of the run before." if kept else ""
    named = f", {record['first_episode']} to {record['last_episode']}" if "first_episode" in record else ""
    return (
        f"{done['seconds'] / 60:.0f} minutes on {settings.get('devices', 1)} device(s), {done['step']:,} steps, "
        f"{done['frames']:,} frames of {record['episodes']} recorded episodes ({record['recorded_frames']:,} frames"
        f"{named}); mode "
        f"`{settings['mode']}`; {optimizer} at {settings['learning_rate']}; windows of {stages}{dreams}.{changes}"
    )


def taught_run_of(record: dict[str, Any]) -> str:
    """One run in which the world model was taught a teacher's actions, in a line."""
    done, settings = record["progress"], record["settings"]
    mirrored = " and their mirror images" if settings["mirror"] else ""
    every, paid = settings["rehearse_every"], settings.get("rehearsal_paid", 0.0)
    frames, share = (settings.get(key, usual) for key, usual in REHEARSED_AT_FIRST.items())
    return (
        f"{done['seconds'] / 60:.0f} minutes, {done['step']:,} steps, {done['frames']:,} frames of "
        f"{record['episodes']} recorded episodes{mirrored}, {settings['episodes_at_once']} at once; taught to tell "
        f"what the teacher `{settings['teacher']}` would do and where the target is, through whole episodes, in "
        f"stretches of {settings['stretch']} frames; beside {'each step' if every == 1 else f'one step in {every}'}, "
        f"{settings['rehearsal_rows']} windows of {settings['rehearsal_window']} frames to dream, weighted by "
        f"{settings['rehearsal_weight']:g}: {share:.0%} of the windows remember own predictions or dreams, of up to "
        f"{frames} frames{f', and {paid:.0%} of all were drawn around a reward' if paid else ''}; Muon and AdamW at "
        f"{settings['learning_rate']}."
    )


def filled(path: Path, text: str, marker: str, content: str) -> str:
    """A page with something else between two markers.

    Raises:
        ValueError: The page has not both of them, in this order.
    """
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(
            f"{path}: no {begin if not found else f'{end} after {begin}'}, expected both, around what is written anew. "
            f"Likely cause: one was taken out by hand. Fix: put it back, as git diff -- {path} shows it. No page was "
            "written."
        )
    return f"{head}{begin}\n{content}\n{end}{tail}"


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
