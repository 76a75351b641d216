"""Without noise: at which rate the first mode of the diffusion decays beside the teacher.

Near mu = nu the equation is h' = -L_nu P h, h = w - 1, L_nu the weighted Laplacian; P is
(T_nu + lam)^-1 T_nu with optimal outer weights and T_nu with fixed ones. In the harmonics Y both
are (Y^T K Y) x = e G x, with G = lam/kappa + Y^T D Y and G = 1/kappa (derived in docs/theory.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from ufd.fem.spectrum import laplacian_modes
from ufd.meanfield.neighbours import Neighbours
from ufd.meanfield.system import MeanFieldSystem
from ufd.parallel import largest, total

Array = NDArray[np.float64]


class TeacherMode(NamedTuple):
    """A mode beside the teacher.

    Attributes:
        rate: e.
        shape: w - 1 where there is nothing else, of size 1, (owned,).
        weights: Its amplitude is the sum over all nodes of these times w - 1, (owned,).
    """

    rate: float
    shape: Array
    weights: Array


def mode_beside_teacher(system: MeanFieldSystem, number: int) -> TeacherMode:
    """The mode that is most like one of the diffusion's; collective.

    Rates accumulate at 0, since the kernel's eigenvalues do: there is no first one.

    Args:
        system: Without noise, unbiased.
        number: Of the mode of the weighted Laplacian, from 0.
    """
    space, outer = system.space, system.outer
    pairs = Neighbours(space)
    K = pairs.matrix(-pairs.sum(pairs.K), pairs.K)
    now = outer.weights(np.zeros(system.modes.count))
    none = np.zeros(space.owned)

    def whole(share: Array) -> Array:
        return np.asarray(total(space.comm, share))

    G = whole(outer.matrix_share(space.D * now.slope))
    stiff = whole(outer.matrix_share(none, K)) - np.diag(outer.stiffness)
    rates, x = eigh(stiff, G)
    # h = D^-1 K Y x
    h = (K @ (outer.extended_Y @ x)) / space.D[:, None]
    mode = laplacian_modes(space, number + 1).vectors[number]
    overlap = np.abs(whole((space.D * mode) @ h))
    size = np.sqrt(np.maximum(whole(space.D @ (h * h)), 1e-300))
    moving = rates > 1e-9 * rates.max()
    best = int(np.argmax(np.where(moving, overlap / size, 0.0)))
    # x^T Y^T D h decays at its rate and knows nothing of the other modes.
    top = largest(space.comm, float(np.abs(h[:, best]).max(initial=0.0)))
    weights = space.D * (system.modes.Y @ x[:, best])
    return TeacherMode(float(rates[best]), h[:, best] / top, weights)
