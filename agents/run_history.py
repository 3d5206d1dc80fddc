"""What a training run began with and what was changed when it went on, so that its record stays true."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTS = ("start_from", "transfer", "keep_layers", "encoder_of")
FREE_TO_CHANGE = ("minutes", "save_every", "validate_every", "threads", "output", *STARTS)
"""Settings that need no note: how long, how often, where. What a run starts from matters when it begins and never
again."""


def run_history(
    earlier: Path, settings: dict[str, Any], step: int, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """Compare the settings of a run that goes on with those it had, and return what its record shall say of them.

    Args:
        earlier: The run's `training.json`; need not be there.
        settings: Those given now, as `training_record` has them.
        step: The optimisation step at which the run goes on; 0 when it begins.
        say: Gets a line for each setting that is another than before.

    Returns:
        `settings`: those the run began with, except for what is free to change. `changed_settings`, if there are any:
        a list of `{"step", "setting", "from", "to"}`, in order. `start_from`, if `earlier` has it.

    Raises:
        ValueError: `earlier` is not the record of a run.
    """
    if step == 0 or not earlier.exists():
        return {"settings": settings}
    record = _read(earlier)
    changes = list(record.get("changed_settings", []))
    now = record["settings"] | {change["setting"]: change["to"] for change in changes}
    for name, value in settings.items():
        if name in now and now[name] != value and name not in FREE_TO_CHANGE:
            say(
                f"--{name.replace('_', '-')} was {now[name]} and is {value} from step {step} on; {earlier.name} says so"
            )
            changes.append({"step": step, "setting": name, "from": now[name], "to": value})
    free = {name: value for name, value in settings.items() if name in FREE_TO_CHANGE and name != "start_from"}
    history = {"settings": settings | record["settings"] | free}
    if changes:
        history["changed_settings"] = changes
    return history | ({"start_from": record["start_from"]} if "start_from" in record else {})


def earlier_trainings(**sources: Path | None) -> dict[str, Any]:
    """Return how what a run is made of was trained, as far as that is recorded.

    Args:
        sources: By their names in the record, `tokenizer` or `start_from`: folders of runs or checkpoints.
    """
    found = {}
    for name, folder in sources.items():
        if folder is not None and (folder / "training.json").exists():
            record = json.loads((folder / "training.json").read_text())
            # a world model's record holds its tokenizer's
            found[name] = record.get("tokenizer", record) if name == "tokenizer" else record
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        record["settings"] = dict(record["settings"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is not the record of a training run ({type(error).__name__}: {error}), expected JSON with "
            "'settings'. Likely cause: it was edited or damaged. Restore it, or delete it to go on without."
        ) from error
    return record
