"""The data set of `lerobot_fixture.py` as tests look at it and change it."""

import json
from pathlib import Path

import numpy as np

from tests.wmgym import lerobot_fixture as fixture

FOLDER = Path(__file__).parent / "lerobot"
LENGTHS, VIDEO, IMAGE, FPS = fixture.LENGTHS, fixture.VIDEO, fixture.IMAGE, float(fixture.FPS)
EPISODES = range(len(LENGTHS))
VIDEO_FILE = f"videos/{VIDEO}/chunk-000/file-000.mp4"
DATA_FILE = "data/chunk-000/file-000.parquet"
EPISODES_FILE = "meta/episodes/chunk-000/file-000.parquet"


def column(name, episode):
    """What was written in a column of an episode, a row each."""
    return np.stack([fixture.row_of(episode, row)[name] for row in range(LENGTHS[episode])])


def frames_of(episode):
    """Return the file of an episode, and the times of its frames there, worked out by hand."""
    start = (0, LENGTHS[0] / FPS, 0)[episode]
    file = FOLDER / f"videos/{VIDEO}/chunk-000/file-00{(0, 0, 1)[episode]}.mp4"
    return file, start + np.arange(LENGTHS[episode]) / FPS


def change_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_parquet(path, **changes):
    """Write columns of a file anew, as functions of their values."""
    import pyarrow
    from pyarrow import parquet

    table = parquet.read_table(path)
    for name, change in changes.items():
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        table = table.set_column(index, field, pyarrow.array(change(table[name].to_pylist()), field.type))
    parquet.write_table(table, path)
