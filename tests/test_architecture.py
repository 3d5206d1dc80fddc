"""The house rules that no linter checks: file sizes, public docstrings, nothing unpickled, small imports."""

import ast
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agents", "model", "wmgym")
PACKAGE_FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SCRIPTS = sorted((ROOT / "experiments").glob("*.py"))
LINE_BUDGET = 350
CHECKPOINT_BUDGET_BYTES = 40_000_000

# Calls that execute what they load, by the name of the module they come from.
UNSAFE_CALLS = {
    "pickle": {"load", "loads", "Unpickler"},
    "cloudpickle": {"load", "loads"},
    "dill": {"load", "loads"},
    "joblib": {"load"},
    "torch": {"load"},
    "torch.jit": {"load"},
    "torch.package": {"PackageImporter"},
}
OPTIONAL_MODULES = (
    "av",
    "dm_control",
    "lightning_fabric",
    "matplotlib",
    "memory_maze",
    "mujoco",
    "PIL",
    "pygame",
    "sb3_contrib",
    "stable_baselines3",
    "tensorboard",
    "torchmetrics",
    "tqdm",
    "tyro",
)


def name_of(path):
    return str(path.relative_to(ROOT))


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def undocumented(tree, prefix=""):
    """Yield the public classes, functions and methods of a module or class that have no docstring."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or is_redefinition(node):
            continue
        if ast.get_docstring(node) is None:
            yield f"{prefix}{node.name} (line {node.lineno})"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node, f"{prefix}{node.name}.")


def is_redefinition(node):
    """Whether the docstring stands elsewhere: an overload, a property's setter, an explicit override."""
    elsewhere = {"overload", "override", "setter", "deleter"}
    return any(ast.unparse(decorator).split(".")[-1] in elsewhere for decorator in node.decorator_list)


def imported_names(tree):
    """Map each local name in a module to the dotted name it was imported from."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def unsafe_calls(tree):
    """Yield the calls in a module that unpickle or execute what they load."""
    names = imported_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        first, *rest = ast.unparse(node.func).split(".")
        module, _, function = ".".join([names.get(first, first), *rest]).rpartition(".")
        if function in UNSAFE_CALLS.get(module, ()):
            yield f"line {node.lineno}: {module}.{function}"
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                yield f"line {node.lineno}: allow_pickle"


@pytest.mark.parametrize("path", PACKAGE_FILES + SCRIPTS, ids=name_of)
def test_no_file_outgrows_one_job(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINE_BUDGET, f"{name_of(path)} has {lines} lines, the budget is {LINE_BUDGET}: split it by job"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=name_of)
def test_everything_public_says_what_it_is_for(path):
    tree = parse(path)
    assert ast.get_docstring(tree), f"{name_of(path)} has no module docstring"
    assert list(undocumented(tree)) == []


@pytest.mark.parametrize("path", PACKAGE_FILES + SCRIPTS, ids=name_of)
def test_annotations_stay_objects(path):
    """Postponed annotations are strings, which the jaxtyping hook cannot check."""
    futures = [node for node in ast.walk(parse(path)) if getattr(node, "module", None) == "__future__"]
    assert not futures, f"{name_of(path)} postpones annotations: remove `from __future__ import annotations`"


@pytest.mark.parametrize("path", PACKAGE_FILES + SCRIPTS, ids=name_of)
def test_nothing_is_unpickled(path):
    assert list(unsafe_calls(parse(path))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x', weights_only=True)",
        "from torch import load as fetch\nfetch('x')",
        "import pickle\npickle.loads(b'')",
        "from pickle import Unpickler\nUnpickler(f)",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
    ],
)
def test_the_check_for_unpickling_sees_it(source):
    assert len(list(unsafe_calls(ast.parse(source)))) == 1


@pytest.mark.parametrize("path", [path for path in SCRIPTS if not path.name.startswith("_")], ids=name_of)
def test_scripts_declare_their_arguments_in_one_dataclass(path):
    tree = parse(path)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if "main" not in functions:
        pytest.skip("a helper of the scripts, not a script")
    assert "Args" in classes, f"{name_of(path)} has a main but no Args dataclass"
    assert any("dataclass" in ast.unparse(decorator) for decorator in classes["Args"].decorator_list)
    assert "__main__" in ast.unparse(tree), f"{name_of(path)} cannot be run as a script"
    body = classes["Args"].body
    for field, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            assert described, f"{name_of(path)}: no sentence under Args.{ast.unparse(field.target)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_ship_their_types(package):
    assert (ROOT / package / "py.typed").is_file()


def test_shipped_checkpoints_stay_small():
    size = sum(path.stat().st_size for path in (ROOT / "wmgym/checkpoints").rglob("*") if path.is_file())
    assert size <= CHECKPOINT_BUDGET_BYTES


def test_packages_import_without_extras_and_without_side_effects():
    """A base installation has none of the extras; importing prints nothing and starts no CUDA context."""
    program = (
        "import sys\n"
        f"for name in {OPTIONAL_MODULES!r}: sys.modules[name] = None\n"
        "import wmgym\n"
        "assert 'torch' not in sys.modules, 'import wmgym is cheap: torch is loaded when a dream is made'\n"
        "import agents, model, torch\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_shapes_are_checked_in_this_run():
    """The jaxtyping hook must be on, or a wrong shape in any other test passes unseen."""
    from wmgym.codec import tensor_to_frames

    with pytest.raises(jaxtyping.TypeCheckError):
        tensor_to_frames(torch.zeros(4, 8, 8))
