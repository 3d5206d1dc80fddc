"""Evaluations that are kept in a folder, each in a file of its own, so that none is made twice."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.evaluate import Evaluation
from agents.results import write_json


def is_kept(folder: Path, decides: Mapping[str, Any]) -> bool:
    """Say whether an evaluation with exactly these settings is in a folder."""
    return _file_of(folder, decides) is not None


def keep_or_make(folder: Path, name: str, decides: Mapping[str, Any], make: Callable[[], Evaluation]) -> Evaluation:
    """Return the evaluation that is kept for these settings; if there is none, make it and keep it.

    Args:
        folder: Made if it is not there.
        name: Of the policy, for people who look into the folder; it decides nothing.
        decides: All that decides the result, as JSON has it. Another value of any makes another evaluation.
        make: Evaluates.

    Raises:
        ValueError: The file is damaged.
    """
    path = _file_of(folder, decides)
    if path is not None:
        return _read(path)
    made = make()
    slug = re.sub(r"[^\w.@-]+", "-", name)
    write_json(
        folder / f"{slug}-{digest(decides)}.json",
        {"name": name, "decides": dict(decides), "evaluation": asdict(made)},
    )
    return made


def digest(decides: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that tell settings from all others, whatever their order."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def _file_of(folder: Path, decides: Mapping[str, Any]) -> Path | None:
    return next(iter(sorted(folder.glob(f"*-{digest(decides)}.json"))), None)


def _read(path: Path) -> Evaluation:
    try:
        kept = json.loads(path.read_text())["evaluation"]
        paid = [tuple((int(step), float(reward)) for step, reward in episode) for episode in kept["rewards"]]
        return Evaluation(
            int(kept["first_seed"]), tuple(map(float, kept["returns"])), tuple(map(int, kept["lengths"])), tuple(paid)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error!r}), expected an evaluation. Most likely it was edited or damaged. Delete "
            "it: the policy is then evaluated again."
        ) from error
