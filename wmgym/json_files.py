"""JSON files that data sets keep beside their arrays and videos."""

import json
from pathlib import Path
from typing import Any

from wmgym.errors import RecordingError


def read_object(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file as a dictionary.

    Raises:
        RecordingError: The file is missing, truncated or damaged, or holds something else.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordingError(
            f"{path}: cannot be read ({error}); truncated, or no JSON. Fix: fetch it again."
        ) from error
    if not isinstance(told, dict):
        raise RecordingError(f"{path}: holds a {type(told).__name__}, expected a dictionary. Fix: fetch it again.")
    return told
