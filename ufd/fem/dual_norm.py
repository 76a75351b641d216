"""The norm of H^-1_nu: |h|^2 = int |grad psi|^2 dnu with L psi = h, one solve with K.

In it the flow is a gradient flow and a contraction (docs/theory.md, sections 3 and 4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import SolverError
from ufd.fem.discretization import Discretization
from ufd.fem.linear import ShiftedSolver
from ufd.parallel import total

Array = NDArray[np.float64]
# Multigrid stops there; a squared norm gains twice the digits.
_RTOL = 1e-10


class DualNorm:
    """Squared H^-1_nu norms on one mesh; the factorisation is kept.

    Args:
        space: Gives K and D.
        linear: "direct", "frozen", "multigrid" or None, as for the stages.
    """

    def __init__(self, space: Discretization, linear: str | None = None) -> None:
        self._space = space
        self._solver = ShiftedSolver(space, linear)
        # K is singular. A weight on one node alone leaves every solution with a right-hand side
        # of sum zero as it is: the sum of all rows says that psi vanishes at that node.
        ground, stiff = np.zeros(space.owned), space.K.getDiagonal().array
        if space.owned and space.first == 0:
            ground[0] = stiff[0]
        self._solver.prepare(1.0, ground)

    def squared(self, values: Array) -> float:
        """|h|^2 for owned nodal values of h, after its nu-mean is taken out; collective.

        Raises:
            SolverError: If the linear solve fails.
        """
        space = self._space
        load = space.D * (values - space.integrate(values))
        psi, _, solved = self._solver.solve(load, _RTOL)
        if not solved:
            raise SolverError("H^-1 norm: the solve with K failed; refine less or use direct")
        return float(total(space.comm, float(load @ psi)))
