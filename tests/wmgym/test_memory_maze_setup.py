"""What a user is told when the real maze cannot run here."""

import ctypes.util
import importlib.metadata
import sys

import pytest

from wmgym import memory_maze_setup
from wmgym.errors import DependencyError


def pretend_versions(monkeypatch, **versions):
    def version(package):
        try:
            return versions[package.replace("-", "_")]
        except KeyError:
            raise importlib.metadata.PackageNotFoundError(package) from None

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.parametrize(("control", "mujoco"), [("1.0.41", "3.9.0"), ("1.0.50", "3.8.1"), ("1.0.9", "4.0.0")])
def test_packages_from_two_sides_of_the_contact_change(monkeypatch, control, mujoco):
    pretend_versions(monkeypatch, memory_maze="1.0.3", dm_control=control, mujoco=mujoco)
    with pytest.raises(DependencyError, match=f"{control}.*{mujoco}"):
        memory_maze_setup.check_versions()


@pytest.mark.parametrize(("control", "mujoco"), [("1.0.27", "3.2.7"), ("1.0.50", "3.17.0"), ("1.1.0rc1", "4.0.0")])
def test_packages_that_fit(monkeypatch, control, mujoco):
    pretend_versions(monkeypatch, memory_maze="1.0.3", dm_control=control, mujoco=mujoco)
    memory_maze_setup.check_versions()


def test_missing_package_names_the_extra(monkeypatch):
    pretend_versions(monkeypatch, memory_maze="1.0.3", mujoco="3.17.0")
    with pytest.raises(DependencyError, match=r"dm-control.*pip install -e '\.\[maze\]' in a clone of wmgym"):
        memory_maze_setup.check_versions()


def test_missing_gl_names_the_apt_line(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(DependencyError, match="apt-get install libegl1 libegl-mesa0 libosmesa6"):
        memory_maze_setup.choose_gl_backend()


def test_the_users_backend_is_kept(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert memory_maze_setup.choose_gl_backend() == "osmesa"


def test_osmesa_where_there_is_no_egl(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(memory_maze_setup, "egl_has_device", lambda: False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so")
    assert memory_maze_setup.choose_gl_backend() == "osmesa"
    monkeypatch.delenv("MUJOCO_GL")


def test_two_mujocos_on_top_of_each_other(monkeypatch):
    pytest.importorskip("mujoco")
    pretend_versions(monkeypatch, mujoco="4.0.0")
    with pytest.raises(DependencyError, match=r"4\.0\.0.*uninstall"):
        memory_maze_setup.check_mujoco_library()
