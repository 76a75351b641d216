"""Draw densities on spheres with PyVista: ``python -m ufd.analysis.render SCENE.npz OUT.png``.

A process of its own, because VTK without working OpenGL libraries ends the process it runs in.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ufd.storage import read_arrays


def main(scene: Path, target: Path) -> None:
    """Draw the scene into a PNG file."""
    import pyvista

    stored = read_arrays(scene)
    points, panels, titles = stored["points"], stored["panels"], stored["titles"]
    columns = min(4, len(titles))
    rows = -(-len(titles) // columns)
    plotter = pyvista.Plotter(
        off_screen=True, shape=(rows, columns), window_size=(360 * columns, 360 * rows)
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
            surface, clim=limits, cmap="viridis", smooth_shading=True, show_scalar_bar=index == 0
        )
        plotter.add_text(str(title), font_size=10)
        plotter.view_vector(view)
        plotter.camera.zoom(1.25)
    plotter.screenshot(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
