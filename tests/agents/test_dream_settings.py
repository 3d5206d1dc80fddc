"""The settings of dream_ppo.py are each explained, and no option that differs from its preset is left out."""

import ast
import inspect
from dataclasses import asdict, replace

import pytest

from agents import dream_settings
from agents.dream_settings import PRESETS, options_of

OTHERS = {"observation": "latent", "starts": "first_frames", "mazes": "validation", "precision": "bfloat16"}
OTHERS |= {"beside": ("pretrained-clone", "clone")}
OTHERS |= {"device": "cuda", "checkpoint": "mine", "evaluate": "mine", "start_from": "clone", "algorithm": "a2c"}


def test_each_setting_has_a_sentence():
    """It is the help of the option."""
    tree = ast.parse(inspect.getsource(dream_settings))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    fields = [i for i, node in enumerate(body) if isinstance(node, ast.AnnAssign)]
    assert len(fields) == len(asdict(PRESETS["demo"]))
    for i in fields:
        assert isinstance(body[i + 1], ast.Expr), f"no sentence under {ast.unparse(body[i].target)}"
        assert isinstance(body[i + 1].value, ast.Constant)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", sorted(set(asdict(PRESETS["demo"])) - {"preset"}))
def test_a_setting_that_differs_from_its_preset_is_asked_for(name, preset):
    usual = asdict(replace(PRESETS[preset], learning_rate=7e-4, rollout=32, entropy=0.01, critic_warmup=0))
    value = usual[name]
    other = OTHERS[name] if name in OTHERS else not value if isinstance(value, bool) else value + 1
    told = " ".join(options_of(usual | {name: other}))
    flag = f"--{'no-' if other is False else ''}{name.replace('_', '-')}"
    assert flag in told.split()
    without = " ".join(options_of(usual)).split()
    assert (flag in without) == (name in dream_settings.ALWAYS_TOLD)
