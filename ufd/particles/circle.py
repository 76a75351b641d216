"""Samples in the plane and plain ReLU features on the circle: the inner problem in linear time.

Between directions orthogonal to features (the knots) the network is linear, F(x) = e.x. Sweep the
directions of half a turn and write x = s z, z in that half plane and s = +-1: F(x) = (d + s h).x,
where h = mean(u omega)/2 stays, and d jumps by u_j n_j/M at the knot of feature j. Here n_j =
+-omega_j, with the sign that is active behind the knot. The data enter through their moments on
the arcs between knots. Their scaled residual alpha answers with k = (1/2N) sum of alpha x, and
with a vector p that grows over an arc by its share of (1/N) sum of alpha z. Half a turn reverses d
and p, and the gradient at feature j is k -+ p (derived in docs/theory.md section 11).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from scipy.linalg import lu_factor, lu_solve
from scipy.linalg.lapack import dgbtrf, dgbtrs

from ufd.exceptions import SolverError
from ufd.particles.models import Fit
from ufd.particles.rows import SampleRows
from ufd.particles.sampled import SampledModel
from ufd.problem.features import ReLU
from ufd.problem.penalties import Penalty, QuadraticPenalty

Array = NDArray[np.float64]
# Extended precision: moments are differences of long sums, and residuals are divided by lam.
Wide = NDArray[np.floating[Any]]
_MOST_STEPS, _CONVERGED, _SMALL = 30, 1e-16, 1e-6


class _Arcs(NamedTuple):
    """Features in the order of their knots, and the data between knots.

    Attributes:
        order: Features by knot, (M,).
        sign: +1 if the feature is active behind its knot, else -1; (M, 1).
        normal: n = sign omega, (M, 2).
        counts: Data on each arc, (M + 1,).
        gram: Even and odd moments on the arcs, sums of z z'/N and s z z'/N; (M + 1, 2, 2, 2).
        target: Those of the targets, sums of y z/N and s y z/N; (M + 1, 2, 2).
    """

    order: NDArray[np.intp]
    sign: Wide
    normal: Wide
    counts: NDArray[np.intp]
    gram: Wide
    target: Wide

    def network(self, outer: Wide) -> tuple[Wide, Wide]:
        """d on the arcs, (M + 1, 2), and h, (2,), of outer weights (M, 1) in order of knots."""
        jumps = outer * self.normal / len(outer)
        d = np.concatenate([np.zeros((1, 2), jumps.dtype), np.cumsum(jumps, axis=0)])
        return d - d[-1] / 2, (self.sign * jumps).sum(axis=0) / 2

    def residual(self, d: Wide, h: Wide) -> Wide:
        """The moments of targets less network, (M + 1, 2, 2)."""
        # Times s even moments become odd and odd ones even.
        left = self.target - np.einsum("qcij,qj->qci", self.gram, d)
        left -= np.einsum("qcij,j->qci", self.gram, h)[:, ::-1]
        return left


class CircleModel:
    """`SampledModel` of plain ReLU features in the plane at a cost O((M + N) log N), not O(N M^2).

    For quadratic penalties; for others it is a `SampledModel`.

    Args:
        inputs: x, (N, 2), of any lengths.
        targets: f* at them, (N,).
        description: Of the data.
    """

    def __init__(self, inputs: Array, targets: Array, description: dict[str, Any]) -> None:
        rows, count = SampleRows(ReLU(), inputs), len(inputs)
        self._dense = SampledModel(rows, targets, 1 / count, MPI.COMM_SELF, description)
        x, y = inputs.T
        sign = np.where((y < 0) | ((y == 0) & (x < 0)), -1.0, 1.0)
        angle = np.arctan2(np.abs(y), sign * x)
        order = np.argsort(angle)
        self._angle, self._sign = angle[order], sign[order].astype(np.longdouble)
        self._z = self._sign[:, None] * inputs[order]
        self._targets = targets[order].astype(np.longdouble)
        # Running sums of z (z, y) and of s z (z, y): those of an arc are a difference.
        pairs = self._z[:, :, None] * np.column_stack([self._z, self._targets])[:, None, :]
        pairs = np.stack([pairs, self._sign[:, None, None] * pairs], axis=1) / count
        self._sums = np.concatenate([np.zeros((1, 2, 2, 3), pairs.dtype), np.cumsum(pairs, axis=0)])

    def describe(self) -> dict[str, Any]:
        """See `Model`."""
        return self._dense.describe()

    def optimum(self, omega: Array, lam: float, penalty: Penalty) -> Fit:
        """See `Model`.

        Raises:
            SolverError: If lam is lost in round-off.
        """
        if not isinstance(penalty, QuadraticPenalty):
            return self._dense.optimum(omega, lam, penalty)
        arcs, base = self._arcs(omega), penalty.reference
        d, h = arcs.network(np.full((len(omega), 1), base, np.longdouble))
        # The residual of u = reference: what the correction v = u - reference has to explain.
        start = arcs._replace(target=arcs.residual(d, h))
        v, more, turn, p, k = _Sweep(start, lam).solve(abs(base))
        misfit = self._misfit(arcs, d + more, h + turn, lam)
        pressure, force = np.empty(len(v)), np.empty((len(v), 2))
        pressure[arcs.order], force[arcs.order] = v, k - arcs.sign * p
        return Fit(base + pressure, pressure, force, misfit)

    def fit(self, omega: Array, outer: Array, lam: float) -> Fit:
        """See `Model`."""
        arcs = self._arcs(omega)
        d, h = arcs.network(outer[arcs.order, None].astype(np.longdouble))
        drift = arcs.residual(d, h) / lam
        p = np.cumsum(drift[:, 0], axis=0)
        wide = np.empty_like(arcs.normal)
        wide[arcs.order] = drift[:, 1].sum(axis=0) / 2 - arcs.sign * (p[:-1] - p[-1] / 2)
        pressure, force = np.einsum("ji,ji->j", omega, wide).astype(float), wide.astype(float)
        return Fit(outer, pressure, force, self._misfit(arcs, d, h, lam))

    def _arcs(self, omega: Array) -> _Arcs:
        x, y = omega.T
        sign = np.where((x < 0) | ((x == 0) & (y > 0)), 1.0, -1.0)
        knots = np.arctan2(np.abs(x), sign * y)
        order = np.argsort(knots)
        ends = np.searchsorted(self._angle, knots[order])
        ends = np.concatenate([[0], ends, [len(self._angle)]])
        sums = np.diff(self._sums[ends], axis=0)
        sign = sign[order, None].astype(np.longdouble)
        return _Arcs(order, sign, sign * omega[order], np.diff(ends), sums[..., :2], sums[..., 2])

    def _misfit(self, arcs: _Arcs, d: Wide, h: Wide, lam: float) -> float:
        vectors = np.repeat(d, arcs.counts, axis=0) + self._sign[:, None] * h
        residual = self._targets - np.einsum("ni,ni->n", vectors, self._z)
        return float(residual @ residual) / (2 * lam * len(residual))


class _Sweep:
    """Minimise |start - F_v|^2/(2 lam) + mean(v^2)/2 in the vectors d, h, p and k of v.

    At knot j d jumps by n_j v_j/M with v_j = n_j.(sign_j k - p_j), and over arc q p grows by
    (b_q - A_q d_q - A'_q h)/lam: b even moments of start, A and A' even and odd ones of the data.
    Here p, k and v carry a factor sqrt(lam), which balances knots and arcs.

    In the order p_1, d_1, p_2, d_2, ... (p before a knot, d behind it) these equations have five
    diagonals, a positive semidefinite part plus a skew one. They are well posed for given d_0 and
    p_(M+1), one at each end. These, h and k are a border of eight unknowns with the equations
    d_M = -d_0, p_0 = -p_(M+1), 2 h = mean(v omega), 2 k = (1/N) sum of alpha x.

    Args:
        arcs: With start as the target.
        lam: Regularisation.

    Raises:
        SolverError: If lam is lost in round-off.
    """

    def __init__(self, arcs: _Arcs, lam: float) -> None:
        self._root = np.sqrt(np.longdouble(lam))
        self._gain = 1 / (self._root * len(arcs.normal))
        self._arcs = arcs._replace(gram=arcs.gram / self._root, target=arcs.target / self._root)
        self._lam = lam
        # Where the dense model ends; extended precision still has four digits more.
        if lam < np.finfo(float).eps * float(np.trace(arcs.gram[:, 0].sum(axis=0))):
            raise self._lost()
        self._factorise()

    def solve(self, scale: float) -> tuple[Wide, Wide, Wide, Wide, Wide]:
        """v (M,), d (M + 1, 2), h (2,), p before the knots (M, 2) and k (2,), without factors.

        Corrections in double precision for residuals in extended precision.

        Args:
            scale: Of the outer weights, beside that of v.

        Raises:
            SolverError: If the corrections do not end in round-off.
        """
        x, c = np.zeros((len(self._arcs.normal), 4), np.longdouble), np.zeros(8, np.longdouble)
        before = 0.0
        for _ in range(_MOST_STEPS):
            change, shift = self._correction(*self._residual(x, c))
            x, c = x + change, c + shift
            v = self._weights(x[:, :2], c[6:]) / self._root
            step = self._weights(change[:, :2], shift[6:]) / self._root
            size, length = float(abs(v).max()), float(abs(step).max())
            # The next correction is shorter by the ratio of the last two. Round-off ends this.
            converged = length * length <= _CONVERGED * size * before
            if converged or (before and before / 2 < length < _SMALL * (size + scale)):
                d = np.concatenate([c[None, :2], x[:, 2:]])
                return v[:, 0], d, c[4:6], x[:, :2] / self._root, c[6:] / self._root
            before = length
        raise self._lost()

    def _lost(self) -> SolverError:
        return SolverError(
            f"lam = {self._lam:.3g} is lost in round-off against the data; take a larger lam"
        )

    def _weights(self, p: Wide, k: Wide) -> Wide:
        return np.einsum("ji,ji->j", self._arcs.normal, self._arcs.sign * k - p)[:, None]

    def _residual(self, x: Wide, c: Wide) -> tuple[Wide, Wide]:
        """What the equations of knots and arcs (M, 4), and those of the border (8,), miss."""
        arcs, h, k = self._arcs, c[4:6], c[6:]
        d, p = np.concatenate([c[None, :2], x[:, 2:]]), np.concatenate([x[:, :2], c[None, 2:4]])
        jumps = self._gain * self._weights(p[:-1], k) * arcs.normal
        drift = arcs.residual(d, h)
        inside = np.hstack([jumps - np.diff(d, axis=0), drift[1:, 0] - np.diff(p, axis=0)])
        both = [(arcs.sign * jumps).sum(axis=0) - 2 * h, drift[:, 1].sum(axis=0) - 2 * k]
        return inside, np.concatenate([-d[0] - d[-1], drift[0, 0] - p[0] - p[-1], *both])

    def _correction(self, inside: Wide, border: Wide) -> tuple[Array, Array]:
        inner = self._inner(inside.astype(float).ravel())
        shift = lu_solve(
            self._corner, border.astype(float) - self._rows @ inner, check_finite=False
        )
        if not np.isfinite(shift).all():
            raise self._lost()
        return (inner - self._columns @ shift).reshape(-1, 4), shift

    def _inner(self, right: Array) -> Array:
        return dgbtrs(self._lu, 2, 2, right, self._pivots)[0]

    def _factorise(self) -> None:
        arcs, width = self._arcs, len(self._arcs.normal)
        gram, normal = arcs.gram.astype(float), arcs.normal.astype(float)
        even, odd = gram[:, 0], gram[:, 1]
        jump = float(self._gain) * normal[:, :, None] * normal[:, None, :]
        turned = arcs.sign[:, :, None].astype(float) * jump
        blocks = np.stack([jump, even[1:]], axis=1).reshape(-1, 2, 2)
        # The five diagonals by columns; LAPACK fills two more in pivoting.
        band = np.zeros((4 * width, 7))
        band[:, 2], band[:, 4], band[:, 6] = 1.0, blocks[:, [0, 1], [0, 1]].ravel(), -1.0
        band[1::2, 3] = band[::2, 5] = blocks[:, 0, 1]
        self._lu, self._pivots, failed = dgbtrf(band.T, 2, 2, overwrite_ab=True)
        # The border, in the order d_0, p_(M+1), h, k: its columns, its rows and its corner.
        columns, rows = np.zeros((8, width, 4)), np.zeros((8, width, 4))
        columns[:2, 0, :2], columns[2:4, -1, 2:] = -np.eye(2), np.eye(2)
        rows[:2, -1, 2:] = rows[2:4, 0, :2] = np.eye(2)
        columns[4:6, :, 2:] = rows[6:, :, 2:] = odd[1:].transpose(1, 0, 2)
        rows[4:6, :, :2] = turned.transpose(1, 0, 2)
        columns[6:, :, :2] = -rows[4:6, :, :2]
        corner = np.diag([1.0] * 4 + [2.0] * 4)
        corner[2:4, :2], corner[2:4, 4:6], corner[4:6, 6:] = even[0], odd[0], -jump.sum(axis=0)
        corner[6:, :2], corner[6:, 4:6] = odd[0], even.sum(axis=0)
        self._rows, self._columns = rows.reshape(8, -1), self._inner(columns.reshape(8, -1).T)
        corner -= self._rows @ self._columns
        if failed or not np.isfinite(corner).all():
            raise self._lost()
        self._corner = lu_factor(corner, check_finite=False)
