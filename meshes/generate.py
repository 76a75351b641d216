"""Write the small meshes of this folder: the surfaces that ufd builds in memory, for gmsh users.

Run from the repository root: ``python meshes/generate.py``.
"""

from pathlib import Path

import meshio
import numpy as np

from ufd.fem.surfaces import Circle, Icosphere, SurfaceMesh

HERE = Path(__file__).parent


def write(name: str, surface: SurfaceMesh) -> None:
    """Write one degree-1 surface as gmsh 2.2 text, with one physical group."""
    points = np.zeros((len(surface.points), 3))
    points[:, : surface.points.shape[1]] = surface.points
    kind = {"interval": "line", "triangle": "triangle"}[surface.cell_type]
    tags = [np.ones(len(surface.cells), dtype=np.int32)]
    mesh = meshio.Mesh(
        points,
        [(kind, surface.cells)],
        cell_data={"gmsh:physical": tags, "gmsh:geometrical": tags},
    )
    meshio.write(HERE / name, mesh, file_format="gmsh22", binary=False)


if __name__ == "__main__":
    write("circle_64.msh", Circle(64, 1))
    write("icosphere_2.msh", Icosphere(2))
    write("icosphere_3.msh", Icosphere(3))
