"""What is missing is to be had by a command that works: from a clone, since no index has wmgym."""

import configparser
import re
import sys
from pathlib import Path

import pytest

from agents.algorithms import algorithm_class
from wmgym.errors import DependencyError
from wmgym.extras import how_to_install, import_extra
from wmgym.memory_maze_setup import INSTALL_EXTRA

ROOT = Path(__file__).parents[2]
CLONE = r"pip install -e '\.\[([a-z0-9-]+)\]' in a clone of wmgym"


def test_messages_name_extras_that_there_are(monkeypatch):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    for name in ("av", "sb3_contrib"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DependencyError) as video:
        import_extra("av", "PyAV", "No videos", "video-data")
    with pytest.raises(ImportError) as recurrent:
        algorithm_class("recurrent_ppo")
    told = [str(video.value), str(recurrent.value), INSTALL_EXTRA, how_to_install("minari")]
    named = [re.search(CLONE, text)[1] for text in told]
    assert named == ["video-data", "sb3", "maze", "minari"]
    assert set(named) <= set(config["options.extras_require"])


def test_no_message_has_wmgym_installed_from_an_index():
    for folder in ("agents", "experiments", "model", "wmgym"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not re.search(r"pip install\W+wmgym|wmgym\[[a-z]", path.read_text()), path
