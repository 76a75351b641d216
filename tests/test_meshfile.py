"""Meshes from files: what is a closed mesh of the sphere is solved on, all else gets one line."""

from __future__ import annotations

import contextlib
import io
import logging
from collections import defaultdict
from pathlib import Path

import meshio
import numpy as np
import pytest

import ufd
from ufd.fem.meshfile import obtuse_edges, read_mesh
from ufd.fem.surfaces import Circle, CubedSphere, Icosphere

MESHES = Path(__file__).parents[1] / "meshes"
CIRCLE, SPHERE = ufd.Sphere(1), ufd.Sphere(2)
ICO = Icosphere(1)
RING = Circle(8, 1)


def problem(sphere: ufd.Sphere) -> ufd.UltraFastDiffusion:
    mean = np.eye(sphere.ambient_dim)[0]
    return ufd.UltraFastDiffusion(ufd.VonMisesFisher(mean, 1.0), ufd.Uniform(sphere))


def points_on(sphere: ufd.Sphere, count: int = 60) -> np.ndarray:
    x = np.random.default_rng(3).normal(size=(count, sphere.ambient_dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def write(path: Path, points, *blocks, file_format: str = "gmsh22", **options) -> Path:
    """Write cells with meshio, without its remarks."""
    padded = np.zeros((len(points), 3))
    padded[:, : np.shape(points)[1]] = points
    mesh = meshio.Mesh(padded, [(kind, np.asarray(cells)) for kind, cells in blocks])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        meshio.write(path, mesh, file_format=file_format, **options)
    return path


def refusal(path: Path, sphere: ufd.Sphere, kind: type, capfd) -> str:
    """The one line with which a file is refused; nothing else is printed."""
    capfd.readouterr()
    with pytest.raises(kind) as caught:
        read_mesh(path, sphere)
    text = str(caught.value)
    assert "\n" not in text and text.startswith("mesh: ") and str(path) in text
    assert capfd.readouterr() == ("", "")
    return text


@pytest.mark.parametrize(
    ("name", "sphere", "built"),
    [
        ("circle_64.msh", CIRCLE, Circle(64, 1)),
        ("icosphere_2.msh", SPHERE, Icosphere(2)),
        ("icosphere_3.msh", SPHERE, Icosphere(3)),
    ],
)
def test_shipped_mesh(name, sphere, built):
    """The files in meshes/ are the meshes that are built in memory, to round-off."""
    surface = read_mesh(MESHES / name, sphere)
    assert (surface.cell_type, surface.degree) == (built.cell_type, 1)
    assert surface.subdivisions is None
    np.testing.assert_array_equal(surface.cells, built.cells)
    np.testing.assert_allclose(surface.points, built.points, atol=1e-15)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("name", "sphere", "cells"), [("circle_64.msh", CIRCLE, 64), ("icosphere_3.msh", SPHERE, 3)]
)
def test_solve_on_file(comm, name, sphere, cells):
    """A solve on a file equals the solve on the same mesh built in memory, on any rank count.

    The files hold all 17 digits and the nodes are moved onto the sphere: 1e-9 is generous.
    """
    options = {"stepper": ufd.BackwardEuler(), "dt": 0.1, "comm": comm}
    built = ufd.solve(problem(sphere), [0.2], cells=cells, degree=1, **options)
    read = ufd.solve(problem(sphere), [0.2], mesh=read_mesh(MESHES / name, sphere), **options)
    assert read.status is ufd.StopReason.FINISHED
    x = points_on(sphere)
    np.testing.assert_allclose(read.density(x, 0.2), built.density(x, 0.2), rtol=1e-9)
    assert read.configuration["solver"]["cells"] is None


@pytest.mark.mpi
def test_run_on_file_is_loaded(comm, shared_tmp):
    """A stored run keeps the mesh of its file."""
    mesh = read_mesh(MESHES / "icosphere_2.msh", SPHERE)
    options = {"stepper": ufd.BackwardEuler(), "dt": 0.1, "comm": comm}
    result = ufd.solve(problem(SPHERE), [0.1], mesh=mesh, **options)
    result.save(shared_tmp, comm)
    x = points_on(SPHERE)
    again = ufd.load(shared_tmp, comm=comm)
    np.testing.assert_allclose(again.density(x, 0.1), result.density(x, 0.1), rtol=1e-12)


@pytest.mark.parametrize(
    ("file_format", "suffix", "options"),
    [
        ("gmsh", "msh", {"binary": False}),
        ("gmsh", "msh", {"binary": True}),
        ("gmsh22", "msh", {"binary": False}),
        ("gmsh22", "msh", {"binary": True}),
        ("vtk", "vtk", {}),
        ("vtu", "vtu", {}),
        ("off", "off", {}),
    ],
)
def test_format(tmp_path, file_format, suffix, options):
    """gmsh 4.1 and 2.2, text and binary, and what else meshio knows, give the same mesh."""
    path = tmp_path / f"mesh.{suffix}"
    write(path, ICO.points, ("triangle", ICO.cells), file_format=file_format, **options)
    surface = read_mesh(path, SPHERE)
    np.testing.assert_array_equal(surface.cells, ICO.cells)
    # Some writers of text keep 8 digits only.
    np.testing.assert_allclose(surface.points, ICO.points, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(surface.points, axis=1), 1, atol=1e-15)


def test_inward_cells_are_turned(tmp_path):
    """A mesh that faces inward everywhere is accepted and turned, without a word."""
    path = write(tmp_path / "in.msh", ICO.points, ("triangle", ICO.cells[:, ::-1]))
    surface = read_mesh(path, SPHERE)
    assert (np.linalg.det(surface.points[surface.cells]) > 0).all()
    path = write(tmp_path / "in.msh", RING.points, ("line", RING.cells[:, ::-1]))
    surface = read_mesh(path, CIRCLE)
    assert (np.linalg.det(surface.points[surface.cells]) > 0).all()


def test_what_is_ignored(tmp_path):
    """Nodes that no cell uses, and the lines and vertices of gmsh's geometry, do no harm."""
    points = np.vstack([[[0.0, 0.0, 0.0]], ICO.points])
    cells = ICO.cells + 1
    path = write(
        tmp_path / "m.msh", points, ("vertex", [[0]]), ("line", cells[:3, :2]), ("triangle", cells)
    )
    surface = read_mesh(path, SPHERE)
    np.testing.assert_array_equal(surface.cells, ICO.cells)
    np.testing.assert_allclose(surface.points, ICO.points, atol=1e-15)


def flipped(cells: np.ndarray) -> np.ndarray:
    return np.vstack([cells[:1, ::-1], cells[1:]])


def moved(points: np.ndarray, node: int, to) -> np.ndarray:
    result = points.copy()
    result[node] = to
    return result


def twice(points: np.ndarray) -> np.ndarray:
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])[: points.shape[1], : points.shape[1]]
    return np.vstack([points, points @ turn])


T, P, Q = ICO.cells, ICO.points, CubedSphere(2, 2)
QUADS = ("quad", Q.cells[:, [0, 1, 3, 2]])
DEGENERATE = np.column_stack([T[:1, 0], T[:1, 0], T[:1, 1]])
FOLDED = moved(P, T[0, 0], -P[T[0, 0]])
TILTED = np.insert(RING.points, 1, 0.0, axis=1)
BRANCH = np.vstack([RING.cells, [[0, 8], [8, 0]]])


@pytest.mark.parametrize(
    ("sphere", "points", "blocks", "part"),
    [
        (SPHERE, P, [("triangle", T[1:])], "3 edges are open; a closed surface is needed"),
        (SPHERE, P, [("triangle", flipped(T))], "opposite orientations; orient all alike"),
        (SPHERE, P, [("triangle", np.vstack([T, T[:1]]))], "3 edges belong to more than two"),
        (SPHERE, moved(P, 3, 1.1 * P[3]), [("triangle", T)], "node 4 has distance 1.1"),
        (SPHERE, moved(P, 3, np.nan), [("triangle", T)], "node 4 has distance nan"),
        (SPHERE, 2 * P, [("triangle", T)], "distance 2 from the origin, not 1; scale and centre"),
        (SPHERE, P, [("triangle", np.vstack([DEGENERATE, T]))], "cell 1 is degenerate; remove it"),
        (SPHERE, moved(P, T[0, 0], P[T[0, 1]]), [("triangle", T)], "cell 1 is degenerate"),
        (SPHERE, FOLDED, [("triangle", T)], "is flipped or folded over; orient all cells alike"),
        (SPHERE, twice(P), [("triangle", np.vstack([T, T + len(P)]))], "cover the sphere 2 times"),
        (
            SPHERE,
            twice(P),
            [("triangle", np.vstack([T, T[:, ::-1] + len(P)]))],
            "is flipped or folded over",
        ),
        (SPHERE, Q.points, [QUADS], "holds cells ['quad']; a mesh of dim = 2 needs triangle"),
        (SPHERE, Q.points, [QUADS, ("triangle", T)], "holds cells ['quad', 'triangle']"),
        (SPHERE, P, [("triangle6", np.hstack([T, T]))], "holds cells ['triangle6']"),
        (SPHERE, RING.points, [("line", RING.cells)], "holds cells ['line']"),
        (SPHERE, P, [], "holds cells []"),
        (CIRCLE, P, [("triangle", T)], "dim = 1 needs line cells"),
        (CIRCLE, TILTED, [("line", RING.cells)], "nodes in R^3; R^2 needed"),
        (CIRCLE, RING.points, [("line", RING.cells[1:])], "2 open ends and 0 branch points"),
        (CIRCLE, np.vstack([RING.points, [[0.6, 0.8]]]), [("line", BRANCH)], "1 branch points"),
        (CIRCLE, RING.points, [("line", flipped(RING.cells))], "point against each other"),
        (
            CIRCLE,
            twice(RING.points),
            [("line", np.vstack([RING.cells, RING.cells + 8]))],
            "cover the sphere 2 times; once is needed",
        ),
    ],
)
def test_wrong_mesh(tmp_path, capfd, sphere, points, blocks, part):
    """What is no closed, oriented mesh that covers the sphere once is refused, with the reason."""
    path = write(tmp_path / "wrong.msh", points, *blocks)
    assert part in refusal(path, sphere, ufd.InputError, capfd)


def test_unreadable(tmp_path, capfd):
    """Files that are missing, folders, or hold anything else are refused without chatter."""
    whole = (MESHES / "icosphere_2.msh").read_text()
    texts = {
        "garbage.msh": "garbage\n" * 3,
        "empty.msh": "",
        "half.msh": whole[: len(whole) // 2],
        "mesh.unknown": whole,
        "garbage.vtk": "garbage",
        "garbage.xdmf": "<x>",
        "garbage.obj": "f a b",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary.msh").write_bytes(bytes(range(256)) * 10)
    for name in [*texts, "binary.msh"]:
        line = refusal(tmp_path / name, SPHERE, ufd.StorageError, capfd)
        assert line.startswith(f"mesh: cannot read {tmp_path / name}: ")
        assert len(line) > len(f"mesh: cannot read {tmp_path / name}: ") + 5
    for path in (tmp_path / "none.msh", tmp_path):
        assert "there is no such file" in refusal(path, SPHERE, ufd.StorageError, capfd)


def test_other_dimension():
    """Meshes cover two spheres only."""
    with pytest.raises(ufd.InputError, match="dim = 3"):
        read_mesh("any.msh", ufd.Sphere(3))


def angles_beyond_half_turn(points: np.ndarray, cells: np.ndarray) -> int:
    """Edges whose two opposite angles sum to more than pi, counted by angles."""
    sums: dict[frozenset, float] = defaultdict(float)
    for cell in cells:
        for i in range(3):
            apex, a, b = (points[cell[(i + k) % 3]] for k in range(3))
            u, v = a - apex, b - apex
            edge = frozenset((int(cell[(i + 1) % 3]), int(cell[(i + 2) % 3])))
            sums[edge] += np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
    return sum(angle > np.pi for angle in sums.values())


def test_obtuse_edges_are_counted(tmp_path, caplog):
    """Edges that break the M-matrix are counted and reported, and the mesh is used all the same."""
    surface = Icosphere(2)
    # Node 60 moves most of the way to the middle of an edge of its star.
    cell = surface.cells[np.flatnonzero((surface.cells == 60).any(axis=1))[0]]
    middle = surface.points[cell[cell != 60]].mean(axis=0)
    node = 0.2 * surface.points[60] + 0.8 * middle / np.linalg.norm(middle)
    points = moved(surface.points, 60, node / np.linalg.norm(node))
    expected = angles_beyond_half_turn(points, surface.cells)
    assert expected > 0
    path = write(tmp_path / "obtuse.msh", points, ("triangle", surface.cells))
    with caplog.at_level(logging.WARNING, logger="ufd"):
        read = read_mesh(path, SPHERE)
    assert len(obtuse_edges(read)) == expected
    (record,) = caplog.records
    assert f"{expected} edges have a negative cotangent sum" in record.getMessage()
    assert str(path) in record.getMessage()
    result = ufd.solve(problem(SPHERE), [0.1], mesh=read, rtol=1e-2)
    assert result.status is ufd.StopReason.FINISHED


def test_good_meshes_are_not_warned_about(caplog):
    """The icosphere has no such edge, and no warning."""
    with caplog.at_level(logging.WARNING, logger="ufd"):
        surface = read_mesh(MESHES / "icosphere_3.msh", SPHERE)
    assert len(obtuse_edges(surface)) == 0 and not caplog.records
    assert len(obtuse_edges(RING)) == 0
