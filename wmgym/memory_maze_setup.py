"""Make the stock `memory_maze` package importable: package versions, OpenGL backend, no old `gym`.

`memory_maze` imports the retired package `gym` only to register ids that wmgym does not use, and picks an
OpenGL backend while it is imported. Both are settled here, once per process, before the first import.
"""

import contextlib
import ctypes
import ctypes.util
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

from wmgym.errors import DependencyError
from wmgym.extras import how_to_install

INSTALL_EXTRA = how_to_install("maze")
INSTALL_GL = "apt-get install libegl1 libegl-mesa0 libosmesa6"

# From these versions on, a touch sensor geom is written with a negative margin (dm_control) and read that way
# (MuJoCo). One without the other moves the distance at which a target counts as touched, silently.
_TOUCH_DM_CONTROL = (1, 0, 43)
_TOUCH_MUJOCO = (3, 9, 0)

_lock = threading.Lock()


def import_memory_maze_tasks() -> Any:
    """Import and return the module `memory_maze.tasks`, with everything it needs prepared.

    Sets `MUJOCO_GL` (and reads it, when the user has set it) before MuJoCo is imported. A minimal stand-in
    for `gym` exists only while the import runs, and only when the real one is absent.

    Raises:
        DependencyError: A package is missing, versions do not fit together, or OpenGL is not there.
    """
    with _lock:
        if "memory_maze.tasks" in sys.modules:
            return sys.modules["memory_maze.tasks"]
        check_versions()
        choose_gl_backend()
        try:
            with _gym_stand_in():
                tasks = importlib.import_module("memory_maze.tasks")
        except (ImportError, AttributeError, RuntimeError) as error:
            # PyOpenGL reports a missing library as AttributeError or ImportError, depending on the backend.
            raise DependencyError(
                f"Importing memory_maze failed: {error!r} (MUJOCO_GL={os.environ.get('MUJOCO_GL')!r}).\n"
                f"If this names OpenGL, EGL or OSMesa, libraries are missing; fix (as root): {INSTALL_GL}\n"
                f"and set MUJOCO_GL=osmesa where EGL has no device. Else reinstall: {INSTALL_EXTRA}"
            ) from error
        check_mujoco_library()
        return tasks


def check_versions() -> None:
    """Check that dm_control, mujoco and memory_maze are installed and read a target's touch distance alike.

    Raises:
        DependencyError: One is missing, or dm_control and mujoco are from two sides of the change in contact
            semantics (MuJoCo 3.9), where targets would count as touched at the wrong distance.
    """
    versions = {}
    for package in ("memory-maze", "dm-control", "mujoco"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError as error:
            raise DependencyError(
                f"The real Memory Maze needs {package}, which is not installed. Fix: {INSTALL_EXTRA}"
            ) from error
    control_is_new = _as_tuple(versions["dm-control"]) >= _TOUCH_DM_CONTROL
    mujoco_is_new = _as_tuple(versions["mujoco"]) >= _TOUCH_MUJOCO
    if control_is_new != mujoco_is_new:
        raise DependencyError(
            f"dm_control {versions['dm-control']} with mujoco {versions['mujoco']} touches targets at a "
            "wrong distance. Expected dm_control >= 1.0.43 with mujoco >= 3.9, or both older. Likely cause: "
            "only one of them was pinned. Fix: pip install 'dm_control>=1.0.50' 'mujoco>=3.17,<4'"
        )


def check_mujoco_library() -> None:
    """Check that the MuJoCo library that was loaded is the one pip believes to be installed.

    Raises:
        DependencyError: It is another one. MuJoCo 4 comes in several wheels, and going back from it in place
            leaves some of them behind.
    """
    loaded = importlib.import_module("mujoco").mj_versionString()
    installed = importlib.metadata.version("mujoco")
    if _as_tuple(loaded) != _as_tuple(installed):
        raise DependencyError(
            f"The mujoco package is {installed}, its library {loaded}. Likely cause: a change of "
            "version in place. Fix: pip uninstall -y mujoco mujoco-core mujoco-studio, then "
            "pip install --force-reinstall 'mujoco>=3.17,<4'"
        )


def choose_gl_backend() -> str:
    """Set `MUJOCO_GL` to what this machine can do and return it: the user's choice, else egl, else osmesa.

    Outside Linux, where neither exists, it is glfw.

    Raises:
        DependencyError: The user has made no choice, and neither EGL nor OSMesa is there.
    """
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if chosen:
        return chosen
    if sys.platform != "linux":
        chosen = "glfw"
    elif egl_has_device():
        chosen = "egl"
    elif ctypes.util.find_library("OSMesa"):
        chosen = "osmesa"
    else:
        raise DependencyError(
            "No OpenGL for off-screen rendering: neither EGL with a device nor OSMesa was found. "
            f"Fix (as root, on Debian or Ubuntu): {INSTALL_GL}"
        )
    os.environ["MUJOCO_GL"] = chosen
    return chosen


def egl_has_device() -> bool:
    """Say whether libEGL is there and lists at least one device (a software one counts)."""
    name = ctypes.util.find_library("EGL")
    if name is None or not ctypes.util.find_library("OpenGL"):
        return False
    try:
        egl = ctypes.CDLL(name)
        egl.eglGetProcAddress.restype = ctypes.c_void_p
        address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    except (OSError, AttributeError):
        return False
    if not address:
        return False
    signature = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))
    query = signature(address)
    count = ctypes.c_int(0)
    return bool(query(0, None, ctypes.byref(count))) and count.value > 0


def _as_tuple(version: str) -> tuple[int, ...]:
    """Turn "1.0.50" into (1, 0, 50), stopping at the first part that is not a number."""
    parts = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


@contextlib.contextmanager
def _gym_stand_in() -> Iterator[None]:
    """Hold just enough of `gym` in `sys.modules` for the import of memory_maze, when `gym` is absent."""
    if importlib.util.find_spec("gym") is not None:
        yield
        return
    gym: Any = types.ModuleType("gym")
    gym.Env = gym.Space = object
    envs: Any = types.ModuleType("gym.envs")
    registration: Any = types.ModuleType("gym.envs.registration")
    registration.register = lambda **_: None
    spaces: Any = types.ModuleType("gym.spaces")
    gym.envs, gym.spaces, envs.registration = envs, spaces, registration
    modules = {"gym": gym, "gym.envs": envs, "gym.envs.registration": registration, "gym.spaces": spaces}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)
