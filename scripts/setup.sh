#!/usr/bin/env bash
# Builds a virtual environment with everything `make demo` and `make test` need, and checks that frames can be rendered.
#
#   scripts/setup.sh VENV [REQUIREMENT]
#
# VENV is the folder to make or complete, REQUIREMENT what pip installs there (default: this tree, editable, with all
# extras). Environment: PYTHON = interpreter to use, TORCH_INDEX = pip index to take torch from, SKIP_GL=1 = no rendering
# needed. Safe to run again; nothing outside VENV changes, except Debian packages when run as root on a machine with apt.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${1:?usage: scripts/setup.sh VENV [REQUIREMENT]}
requirement=${2:-}
supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'

say() { printf '[setup] %s\n' "$*"; }
fail() { printf '[setup] error: %s\n' "$@" >&2; exit 1; }

# Install Debian packages when allowed to; otherwise say the exact line and stop.
need_debian_packages() {
    local reason=$1; shift
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        say "$reason: installing $*"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null ||
            fail "$reason, and apt-get could not install $* (its own message is above)."
    elif command -v apt-get >/dev/null; then
        fail "$reason." "Type this, then run make again:" "    sudo apt-get install -y $*"
    else
        fail "$reason." "Install your system's equivalent of these Debian packages, then run make again: $*"
    fi
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.12 python3.11}; do
        if "$candidate" -c "$supported" >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "neither Python 3.11 nor 3.12 found (tried: ${PYTHON:-python3 python3.12 python3.11})." \
        "labmaze, which builds the mazes, has no wheels for later versions." \
        "Install one and name it: make setup PYTHON=/path/to/python3.11"
}

make_venv() {
    if "$venv/bin/python" -c "$supported" >/dev/null 2>&1 && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    local python version
    python=$(find_python)
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    say "making $venv with Python $version"
    # Debian ships Python without ensurepip, which venv needs.
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        need_debian_packages "Python's venv module is not installed" "python$version-venv"
    fi
    "$python" -m venv --clear "$venv"
}

# torch first: its CPU build is a tenth of its CUDA build, and pip would not choose.
install_torch() {
    local pinned installed
    pinned=$(grep -E '^torch==' constraints.txt)
    installed=$("$venv/bin/python" -c "import importlib.metadata as m; print(m.version('torch'))" 2>/dev/null || true)
    if [ -n "${TORCH_INDEX:-}" ]; then
        say "installing $pinned from TORCH_INDEX"
        "$venv/bin/pip" install --quiet --no-deps --force-reinstall --index-url "$TORCH_INDEX" "$pinned"
    elif [ "torch==${installed%%+*}" = "$pinned" ]; then
        say "keeping torch $installed, which is there already"
    elif command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus 2>/dev/null | grep -q GPU; then
        say "an NVIDIA GPU is here: installing $pinned with CUDA (some gigabytes)"
        "$venv/bin/pip" install --quiet "$pinned" -c constraints.txt
    elif "$venv/bin/pip" install --quiet "$pinned+cpu" -c constraints.txt 2>/dev/null; then
        say "no NVIDIA GPU here: installed the CPU build of torch"
    elif [ "$(uname -s)" = Darwin ]; then
        "$venv/bin/pip" install --quiet "$pinned" -c constraints.txt
    else
        say "no NVIDIA GPU here, but your pip index offers no CPU build of torch:"
        say "installing its default build, which works without a GPU but may be some gigabytes. To get the small one,"
        say "stop this and run: make setup TORCH_INDEX=ADDRESS, with the CPU --index-url of pytorch.org's install page."
        "$venv/bin/pip" install --quiet "$pinned" -c constraints.txt
    fi
}

report_torch() {
    "$venv/bin/python" - <<'PYTHON'
import torch

build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
print(f"[setup] torch {torch.__version__}: {build} build; CUDA device in use: {device}")
PYTHON
}

# Draw one frame off-screen, the only proof that a GL library works.
can_render() {
    MUJOCO_GL=$1 "$venv/bin/python" -c 'import mujoco; mujoco.GLContext(64, 64).make_current()' >/dev/null 2>&1
}

check_rendering() {
    local backend
    for attempt in first second; do
        for backend in ${MUJOCO_GL:-} egl osmesa $([ "$(uname -s)" = Darwin ] && echo cgl); do
            if can_render "$backend"; then
                say "off-screen rendering works with MUJOCO_GL=$backend"
                return
            fi
        done
        [ $attempt = second ] && break
        need_debian_packages "no working EGL or OSMesa library for off-screen rendering" \
            libegl1 libegl-mesa0 libgl1 libosmesa6
    done
    fail "MuJoCo cannot render off-screen, with EGL nor with OSMesa, though both are installed." \
        "See the cause with: MUJOCO_GL=osmesa $venv/bin/python -c 'import mujoco; mujoco.GLContext(64, 64)'"
}

# MiniWorld's pyglet needs the library GLU, which EGL does not bring.
check_glu() {
    if [ "$(uname -s)" = Linux ] && ! "$venv/bin/python" -c \
        'import ctypes.util, sys; sys.exit(ctypes.util.find_library("GLU") is None)'; then
        need_debian_packages "no GLU library, with which MiniWorld draws" libglu1-mesa
    fi
}

make_venv
install_torch
say "installing wmgym and its pinned dependencies"
if [ -n "$requirement" ]; then
    "$venv/bin/pip" install --quiet "$requirement" -c constraints.txt
else
    "$venv/bin/pip" install --quiet -e '.[maze,miniworld,sb3,experiments,human,video-data,minari,lerobot,dev]' -c constraints.txt
fi
report_torch
[ -n "${SKIP_GL:-}" ] || { check_rendering; check_glu; }
say "done"
