"""Draw densities on spheres with PyVista, in a child process.

VTK without working OpenGL libraries ends the process it runs in, so ``draw`` starts
``python -m ufd.analysis.render SCENE.npz OUT.png`` once for each way to reach OpenGL.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ufd.launch import without_launcher
from ufd.storage import read_arrays, write_arrays

Array = NDArray[np.float64]
_SECONDS = 90
# VTK's window classes, and what a person calls them; the first needs a display.
_BACKENDS = {
    "vtkXOpenGLRenderWindow": "the X display",
    "vtkEGLRenderWindow": "EGL",
    "vtkOSOpenGLRenderWindow": "OSMesa",
}


def draw(points: Array, panels: Array, titles: list[str], path: Path) -> str | None:
    """Draw closed surfaces coloured by densities into one PNG file.

    Args:
        points: Structured points of one surface, (rows, columns, 3).
        panels: One density per picture, (pictures, rows, columns).
        titles: One title per picture.
        path: The PNG file.

    Returns:
        What drew it, or None if no OpenGL works here.
    """
    path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene.npz"
        write_arrays(scene, points=points, panels=panels, titles=np.array(titles))
        for window, name in _BACKENDS.items():
            if window != "vtkXOpenGLRenderWindow" or os.environ.get("DISPLAY"):
                _child(window, scene, path)
            if path.is_file():
                return name
    return None


def draws() -> str | None:
    """What would draw spheres here, or None; tried on a small one."""
    angle = np.linspace(0, np.pi, 5)
    points = np.stack([np.outer(np.sin(angle), f(2 * angle)) for f in (np.cos, np.sin)], axis=-1)
    points = np.dstack([points, np.repeat(np.cos(angle)[:, None], 5, axis=1)])
    with tempfile.TemporaryDirectory() as folder:
        return draw(points, points[None, ..., 2] + 2, ["probe"], Path(folder) / "probe.png")


def _child(window: str, scene: Path, path: Path) -> None:
    environment = without_launcher()
    environment["VTK_DEFAULT_OPENGL_WINDOW"] = window
    try:
        subprocess.run(
            [sys.executable, "-m", "ufd.analysis.render", str(scene), str(path)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        path.unlink(missing_ok=True)


def _main(scene: Path, target: Path) -> None:
    import pyvista

    stored = read_arrays(scene)
    points, panels, titles = stored["points"], stored["panels"], stored["titles"]
    columns = min(4, len(titles))
    rows = -(-len(titles) // columns)
    plotter = pyvista.Plotter(
        off_screen=True, shape=(rows, columns), window_size=[360 * columns, 360 * rows]
    )
    limits = [float(panels.min()), float(panels.max())]
    # Look between the teacher's centre of mass and the horizon, so that its bumps are seen.
    centre = np.average(points.reshape(-1, 3), axis=0, weights=panels[-1].ravel())
    view = centre / max(np.linalg.norm(centre), 1e-9) + np.array([0.9, -0.9, 0.5])
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        plotter.subplot(index // columns, index % columns)
        surface = pyvista.StructuredGrid(*np.moveaxis(points, -1, 0)[..., None])
        surface["density"] = panel.ravel(order="F")
        plotter.add_mesh(
            surface,
            clim=limits,
            cmap="viridis",
            smooth_shading=True,
            ambient=0.4,
            show_scalar_bar=index == 0,
            scalar_bar_args={
                "title": "density",
                "n_labels": 3,
                "fmt": "%.2g",
                "title_font_size": 14,
                "label_font_size": 14,
                "position_x": 0.2,
                "position_y": 0.02,
                "width": 0.6,
                "height": 0.14,
            },
        )
        plotter.add_text(str(title), font_size=10)
        plotter.view_vector(view)
        plotter.camera.zoom(1.25)
    # Whole or absent: the parent takes the file's presence for success.
    part = target.with_suffix(".part.png")
    plotter.screenshot(part)
    part.replace(target)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
