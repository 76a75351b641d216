"""Systems (tau K + diag(d)) x = b: every method on every mesh, against dense linear algebra.

Errors are measured in the energy norm, relative to the solution's: that is what conjugate gradients
bound if many digits are asked for, and what makes sense for diagonals of any contrast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import gathered
import numpy as np
import pytest
from mpi4py import MPI
from petsc4py import PETSc
from scipy.linalg import cho_factor, cho_solve, eigh

import ufd
from ufd.fem import factors, multigrid, shifted
from ufd.fem.discretization import Discretization
from ufd.fem.linear import CHOICES, PREFIX, ShiftedSolver
from ufd.fem.surfaces import ArrayMesh, Circle, CubedSphere, Icosphere
from ufd.parallel import total

AXES = {2: [0.6, 0.8], 3: [0.48, -0.6, 0.64]}


def triangles(level: int) -> ArrayMesh:
    """The icosphere as a mesh from a file has it: without coarser levels."""
    surface = Icosphere(level)
    return ArrayMesh(surface.points, surface.cells, "triangle", 1)


MESHES = {
    "chords": lambda: Circle(40, 1),
    "arcs": lambda: Circle(6, 5),
    "icosphere": lambda: Icosphere(3),
    "triangles": lambda: triangles(2),
    "cubed sphere": lambda: CubedSphere(2, 4),
}


def discretised(surface, comm: MPI.Comm = MPI.COMM_SELF, kappa: float = 4.0) -> Discretization:
    return Discretization(surface, ufd.VonMisesFisher(AXES[surface.gdim], kappa), comm)


@functools.cache
def space_of(mesh: str) -> Discretization:
    return discretised(MESHES[mesh]())


def noise(space: Discretization, seed: int) -> np.ndarray:
    """Numbers in [0, 1], by node of the built mesh: the same on any number of ranks."""
    return np.random.default_rng(seed).random(space.size)[space.input_index]


def diagonal(space: Discretization, contrast: float, seed: int = 0) -> np.ndarray:
    """D times white noise of a contrast, centred at 1 in logarithms."""
    return space.D * contrast ** (noise(space, seed) - 0.5)


def energy_error(space: Discretization, tau: float, d: np.ndarray, b: np.ndarray, x) -> float:
    """Of x, against a dense Cholesky factorisation of the matrix scaled to diagonal 1."""
    d, b, x = (gathered.nodal(space, values) for values in (d, b, x))
    A = tau * gathered.matrix(space, space.K).toarray() + np.diag(d)
    scale = 1 / np.sqrt(A.diagonal())
    A *= scale[:, None] * scale
    exact = cho_solve(cho_factor(A), scale * b)
    error = x / scale - exact
    return float(np.sqrt((error @ A @ error) / (exact @ A @ exact)))


def rounding(space: Discretization, tau: float, d: np.ndarray) -> float:
    """What a few roundings of each diagonal entry do to the energy of a constant, relatively."""
    return float(1e-15 * tau * np.linalg.norm(space.K.getDiagonal().array) / d.sum())


@pytest.fixture
def option() -> Iterator[Callable[[str, object], None]]:
    """Set a PETSc option for the test."""
    options, names = PETSc.Options(), []

    def put(name: str, value: object) -> None:
        names.append(name)
        options[name] = value

    yield put
    for name in names:
        options.delValue(name)


@pytest.mark.parametrize("contrast", [1.0, 1e25])
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("mesh", MESHES)
def test_solutions(mesh, choice, contrast):
    """To 1e-9, for steps from 1e-6 to 1e6, diagonals of contrast up to 1e25, one after another."""
    space = space_of(mesh)
    solver = ShiftedSolver(space, choice)
    for seed, tau in enumerate((1e-6, 1e6, 1e-2, 1.0, 1e3)):
        d, b = diagonal(space, contrast, seed), space.D * (noise(space, 10 + seed) - 0.3)
        solver.prepare(tau, d)
        # An old factor may be 1e8 times too large: what it says of an error is wrong by the root.
        x, _, good = solver.solve(b, 1e-13 if choice == "frozen" else 1e-11)
        assert good and energy_error(space, tau, d, b, x) < 1e-9 + rounding(space, tau, d)
    assert solver.escalations == 0


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("mesh", "choice"),
    [
        *[("icosphere", "multigrid"), ("triangles", "direct"), ("triangles", "multigrid")],
        *[("cubed sphere", "frozen"), ("cubed sphere", "multigrid")],
    ],
)
def test_solutions_over_the_ranks(mesh, choice, comm):
    """The same on any number of ranks, in about as many iterations as on one."""
    counts = []
    for ranks in (comm, MPI.COMM_SELF):
        space = discretised(MESHES[mesh](), ranks)
        solver = ShiftedSolver(space, choice)
        d, b = diagonal(space, 1e6), space.D * (noise(space, 1) - 0.3)
        found = []
        for tau in (1e-2, 1e2):
            solver.prepare(tau, d)
            x, count, good = solver.solve(b, 1e-11)
            found.append(count)
            assert good and energy_error(space, tau, d, b, x) < 1e-9
        counts.append(found)
        assert solver.escalations == 0
    np.testing.assert_allclose(counts[0], counts[-1], atol=2)


def iterations(space: Discretization, choice: str) -> list[int]:
    """To 1e-8, over steps from 1e-6 to 1e4, for a smooth diagonal of contrast 1e6."""
    solver = ShiftedSolver(space, choice)
    counts = []
    for tau in (1e-6, 1e-2, 1.0, 1e4):
        solver.prepare(tau, space.D * 1e3 ** space.nodes[:, 0])
        counts.append(solver.solve(space.D * (noise(space, 1) - 0.5), 1e-8)[1])
    assert solver.escalations == 0
    return counts


@pytest.mark.mpi
def test_geometric_multigrid_does_not_depend_on_the_level(comm):
    """At most ten iterations, as many on level 5 as on level 3."""
    counts = [
        iterations(discretised(Icosphere(level), comm, 10.0), "multigrid") for level in (3, 4, 5)
    ]
    assert max(map(max, counts)) <= 10
    assert all(fine <= coarse + 1 for coarse, fine in zip(counts[0], counts[-1], strict=True))


@pytest.mark.parametrize(
    ("surface", "most"),
    [
        (triangles(4), 25),
        (CubedSphere(4, 3), 25),
        (CubedSphere(3, 5), 25),
        (CubedSphere(2, 8), 25),
    ],
    ids=["triangles", "degree 3", "degree 5", "degree 8"],
)
def test_multigrid_elsewhere_is_bounded(surface, most):
    """Algebraic on other triangles; through the low-order matrix on curved quadrilaterals."""
    space = discretised(surface)
    solver = ShiftedSolver(space, "multigrid")
    kind = "algebraic" if surface.degree == 1 else "low-order"
    assert solver.name == f"{kind} multigrid" and not solver.exact
    assert max(iterations(space, "multigrid")) <= most


@pytest.mark.parametrize(
    ("mesh", "choice", "name"),
    [
        ("chords", "direct", "direct"),
        ("arcs", "direct", "direct"),
        ("triangles", "direct", "direct"),
        ("icosphere", "multigrid", "geometric multigrid"),
        ("cubed sphere", "frozen", "frozen factor"),
    ],
)
def test_choices_by_mesh(mesh, choice, name):
    """What is used if nothing is asked for."""
    solver = ShiftedSolver(space_of(mesh))
    assert (solver.choice, solver.name, solver.exact) == (choice, name, name == "direct")


@pytest.mark.parametrize("choice", ["", "Direct", "gamg", 1])
def test_refused_choices(choice):
    """In one line, with what is possible."""
    with pytest.raises(ufd.InputError) as caught:
        ShiftedSolver(space_of("chords"), choice)
    expected = f"linear = {choice!r} must be one of 'direct', 'frozen', 'multigrid', or None"
    assert str(caught.value) == expected


def test_frozen_factors_are_renewed_when_old():
    """Kept for diagonals that change by a little, made again after more than eight iterations."""
    space = space_of("cubed sphere")
    solver = ShiftedSolver(space, "frozen")
    b, near, far = space.D * (noise(space, 1) - 0.3), diagonal(space, 1.0), diagonal(space, 1e3)

    def count(d: np.ndarray) -> int:
        solver.prepare(1.0, d)
        x, found, good = solver.solve(b, 1e-11)
        assert good and energy_error(space, 1.0, d, b, x) < 1e-9
        return found

    assert count(near) == 1 and solver.factorisations == 1
    # The spectrum lies in [1, 1.05].
    for step in (1.01, 1.05):
        assert 1 < count(near * step) <= 8 and solver.factorisations == 1
    assert count(far) > 8 and solver.factorisations == 1
    assert count(far) == 1 and solver.factorisations == 2
    # Too far for a bounded number of iterations: renewed within the solve.
    assert count(diagonal(space, 1e20)) > 32 and solver.factorisations == 3
    assert solver.escalations == 0


def test_old_factors_bound_the_spectrum():
    """Eigenvalues of A_old^-1 A_new lie between 1 and the changes of the diagonal (theory, 16)."""
    space = discretised(CubedSphere(1, 5))
    K = gathered.matrix(space, space.K).toarray()
    order = np.argsort(space.input_index)
    for low, high in ((1.0, 3.0), (0.2, 1.0), (0.5, 2.0)):
        old = 1e3 * diagonal(space, 100.0)[order]
        new = old * (low + (high - low) * noise(space, 3)[order])
        found = eigh(K + np.diag(new), K + np.diag(old), eigvals_only=True)
        assert min(1, low) - 1e-9 < found[0] and found[-1] < max(1, high) + 1e-9
        assert np.ptp(found) > 0.3 * (high - low)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("mesh", "choice"), [("cubed sphere", "frozen"), ("icosphere", "multigrid")]
)
def test_memory_makes_the_next_solution_the_same(mesh, choice, comm):
    """In bits, in a new object, as after a restart; a factor's age goes with it."""
    space = discretised(MESHES[mesh](), comm)
    b = space.D * (noise(space, 1) - 0.3)

    def solve(solver: ShiftedSolver, contrast: float) -> tuple[bytes, int]:
        solver.prepare(0.3, diagonal(space, contrast))
        x, count, good = solver.solve(b, 1e-6)
        assert good
        return x.tobytes(), count

    for last in (1.5, 1e3):
        before = ShiftedSolver(space, choice)
        for contrast in (1.0, 1.2, last):
            solve(before, contrast)
        after = ShiftedSolver(space, choice)
        memory = {key: values.copy() for key, values in before.memory().items()}
        assert all(values.shape == (space.owned,) for values in memory.values())
        after.recall(memory)
        forgetful = ShiftedSolver(space, choice)
        renewed = before.factorisations
        expected = solve(before, 1.8)
        assert before.factorisations == renewed + (choice == "frozen" and last == 1e3)
        assert solve(after, 1.8) == expected
        differs = total(comm, int(solve(forgetful, 1.8) != expected)) > 0
        assert differs == (choice == "frozen" and last == 1.5)
        assert solve(after, 2.5) == solve(before, 2.5)


@pytest.mark.parametrize(
    ("mesh", "choice"),
    [(mesh, choice) for mesh in MESHES for choice in ("direct", "multigrid")],
)
def test_forgetful_methods_forget(mesh, choice):
    """Their solutions are the same bits whatever was solved earlier, and `memory` is empty."""
    space = space_of(mesh)
    used, fresh = ShiftedSolver(space, choice), ShiftedSolver(space, choice)
    b = space.D * (noise(space, 1) - 0.3)
    for tau in (1e-5, 1e5):
        used.prepare(tau, diagonal(space, 1e4))
        used.solve(b, 1e-3)
    found = []
    for solver in (used, fresh):
        solver.prepare(0.7, diagonal(space, 10.0, seed=5))
        found.append(solver.solve(b, 1e-8)[0])
        assert solver.memory() == {}
    assert np.array_equal(*found)


@pytest.mark.parametrize(
    ("mesh", "choice", "module"),
    [
        ("icosphere", "multigrid", multigrid),
        ("triangles", "multigrid", multigrid),
        ("cubed sphere", "multigrid", multigrid),
        ("cubed sphere", "frozen", factors),
    ],
)
def test_a_failing_iteration_is_replaced(mesh, choice, module, monkeypatch):
    """A factorisation takes over, is counted, and solves what was asked."""

    def one_only(ksp, b, x, rtol, most=80):
        return shifted.iterate(ksp, b, x, rtol, 1)

    monkeypatch.setattr(module, "iterate", one_only)
    space = space_of(mesh)
    solver = ShiftedSolver(space, choice)
    b = space.D * (noise(space, 1) - 0.3)
    for failures, contrast in enumerate((1e6, 1e3), start=1):
        d = diagonal(space, contrast, seed=failures)
        if choice == "frozen":
            # Its factor is that of another matrix, and so is the next.
            solver.prepare(1.0, space.D)
            monkeypatch.setattr(factors.FrozenFactor, "_renew", lambda self: None)
        before = solver.factorisations
        solver.prepare(1.0, d)
        x, _, good = solver.solve(b, 1e-11)
        assert good and energy_error(space, 1.0, d, b, x) < 1e-9
        assert solver.escalations == failures and solver.factorisations == before + 1
    assert not solver.exact and solver.name != "direct"


def test_a_diagonal_that_no_method_can_solve_is_reported():
    """One that is no number: not good, no exception; the next system is solved again."""
    space = space_of("icosphere")
    solver = ShiftedSolver(space, "multigrid")
    solver.prepare(1.0, np.where(space.input_index == 7, np.nan, space.D))
    _, _, good = solver.solve(space.D, 1e-8)
    assert not good and solver.escalations == 1
    solver.prepare(1.0, space.D)
    x, _, good = solver.solve(space.D, 1e-11)
    assert good
    np.testing.assert_allclose(x, 1, rtol=1e-9)


def test_options_reach_the_smoother(option):
    """More of them, under the prefix: fewer iterations; an unknown smoother: an error."""
    space = space_of("icosphere")
    usual = iterations(space, "multigrid")
    option(f"{PREFIX}mg_levels_ksp_max_it", 4)
    more = iterations(space, "multigrid")
    assert max(more) < max(usual) and max(more) <= 0.8 * max(usual)
    option(f"{PREFIX}mg_levels_ksp_richardson_scale", 0.1)
    assert max(iterations(space, "multigrid")) > max(usual)


@pytest.mark.parametrize(
    ("cells", "degree"),
    [
        *[(3, 2), (2, 3), (2, 4), (1, 5), (1, 6), (1, 8)],
        pytest.param(1, 7, marks=pytest.mark.mpi),
    ],
)
def test_low_order_matrices_are_equivalent(cells, degree, comm):
    """Symmetric, zero on constants; (K, K_low) has eigenvalues within a factor of five."""
    space = discretised(CubedSphere(cells, degree), comm, kappa=2.0)
    low = gathered.matrix(space, space.low_order).toarray()
    K = gathered.matrix(space, space.K).toarray()
    size = np.abs(low).max()
    np.testing.assert_allclose(low, low.T, rtol=0, atol=1e-14 * size)
    np.testing.assert_allclose(low.sum(axis=1), 0, atol=1e-13 * size)
    alone = discretised(CubedSphere(cells, degree), kappa=2.0)
    np.testing.assert_allclose(
        low, gathered.matrix(alone, alone.low_order).toarray(), atol=1e-12 * size
    )
    # Without the constants, on which both vanish.
    basis = np.linalg.qr(np.column_stack([np.ones(len(K)), np.eye(len(K))[:, 1:]]))[0][:, 1:]
    found = eigh(basis.T @ K @ basis, basis.T @ low @ basis, eigvals_only=True)
    assert found[0] > 0 and found[-1] / found[0] <= 5
    assert np.count_nonzero(low) < np.count_nonzero(np.abs(K) > 1e-14 * np.abs(K).max())


def test_low_order_matrices_exist_on_curved_quadrilaterals_only():
    """None on triangles, arcs and icospheres."""
    for mesh in MESHES:
        assert (space_of(mesh).low_order is None) == (mesh != "cubed sphere")
