"""Draw a Memory Maze camera: the pixels of dm_control's camera, at a fraction of its cost.

Three savings. The off-screen buffer has the camera's own size, and scene and GL context live as long as the
model. Geoms that lie wholly outside the camera's view are not sent to OpenGL: on a CPU a maze costs about
35 microseconds for each of its roughly 170 wall and floor tiles, of which a camera sees a few dozen. And of
the 88 textures in the model (280 MB) only those that some material shows are uploaded, which saves a second
for each new maze.
"""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

_HIDDEN_GROUP = 5  # groups 0-2 are drawn by default, 3-5 are not
_VIEW_MARGIN_M = 0.05  # geoms this close to the edge of the view are still drawn


class MazeRenderer:
    """One camera of one compiled model, drawn into uint8 pixels.

    It draws through the GL context of the physics itself, so it mixes with other dm_control environments in
    the same process, and is freed with `physics.free()`.

    Args:
        physics: The dm_control physics; nothing may have been rendered with it before.
        camera_id: Index of a perspective camera fixed in the model.
        resolution: Height and width of the picture, in pixels; becomes the size of the off-screen buffer.
        cull: Leave out geoms outside the view. The pixels are the same either way.
    """

    def __init__(self, physics: Any, camera_id: int, resolution: int, cull: bool = True) -> None:
        model = physics.model.ptr
        model.vis.global_.offwidth = model.vis.global_.offheight = resolution
        self._model, self._data, self._camera_id = model, physics.data.ptr, camera_id
        self._resolution = resolution
        self._contexts = _open_contexts(physics)
        self._scene = mujoco.MjvScene(model, maxgeom=4 * model.ngeom + 1000)
        self._options, self._perturbation = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._viewport = mujoco.MjrRect(0, 0, resolution, resolution)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = camera_id
        self._normals = _view_normals(float(model.cam_fovy[camera_id]))
        self._groups = model.geom_group.copy()
        self._radii = _bounding_radii(model) if cull else np.full(model.ngeom, np.inf)

    def render(self) -> NDArray[np.uint8]:
        """Return a new picture, `[resolution, resolution, 3]`, of the current simulation state."""
        self._model.geom_group[:] = np.where(self._in_view(), self._groups, _HIDDEN_GROUP)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, self._data, self._options, self._perturbation, self._camera, everything, self._scene
        )
        pixels = np.empty((self._resolution, self._resolution, 3), dtype=np.uint8)
        with self._contexts.gl.make_current() as thread:
            thread.call(self._draw, pixels)
        return pixels[::-1].copy()  # OpenGL counts rows from below

    def _draw(self, pixels: NDArray[np.uint8]) -> None:
        """Draw the scene and read it back; runs on the thread that owns the GL context."""
        context = self._contexts.mujoco.ptr
        mujoco.mjr_render(self._viewport, self._scene, context)
        mujoco.mjr_readPixels(pixels, None, self._viewport, context)

    def _in_view(self) -> NDArray[np.bool_]:
        """Say for each geom whether its bounding sphere reaches into the camera's view."""
        position = self._data.cam_xpos[self._camera_id]
        rotation = self._data.cam_xmat[self._camera_id].reshape(3, 3)
        normals = rotation @ self._normals
        distances = (self._data.geom_xpos - position) @ normals
        visible: NDArray[np.bool_] = (distances > -self._radii[:, None] - _VIEW_MARGIN_M).all(axis=1)
        return visible


def _open_contexts(physics: Any) -> Any:
    """Open the GL contexts, with flat textures that no material shows cut to one pixel for the upload."""
    model = physics.model.ptr
    unused = np.setdiff1d(np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_2D), model.mat_texid)
    heights, widths = model.tex_height[unused].copy(), model.tex_width[unused].copy()
    model.tex_height[unused] = model.tex_width[unused] = 1
    try:
        return physics.contexts
    finally:
        model.tex_height[unused], model.tex_width[unused] = heights, widths


def _view_normals(fovy_degrees: float) -> NDArray[np.float64]:
    """Return the inward unit normals, `[3, 5]`, of a square view's four sides and back, in camera axes.

    A MuJoCo camera looks along its -z axis with +y up.
    """
    half = np.deg2rad(fovy_degrees) / 2
    cos, sin = np.cos(half), np.sin(half)
    return np.array([[cos, 0, -sin], [-cos, 0, -sin], [0, cos, -sin], [0, -cos, -sin], [0, 0, -1]]).T


def _bounding_radii(model: Any) -> NDArray[np.float64]:
    """Return a radius around each geom's centre that contains it; infinite for planes without an edge."""
    radii = np.array(model.geom_rbound, dtype=np.float64)
    planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    half_sizes = model.geom_size[planes, :2]
    finite = (half_sizes > 0).all(axis=1)
    radii[planes] = np.where(finite, np.linalg.norm(half_sizes, axis=1), np.inf)
    return radii
