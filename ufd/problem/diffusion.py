"""The frozen problem: weighted ultra-fast diffusion towards a teacher density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.densities import Density
from ufd.problem.divergences import PowerDivergence
from ufd.problem.euclidean import Euclidean
from ufd.problem.manifolds import Sphere, Torus

Source = Callable[[float, NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class UltraFastDiffusion:
    """nu d_t w = div(nu grad phi(w)) + nu source, w = mu/nu, w(0) = initial/teacher.

    Args:
        teacher: The density nu.
        initial: The density mu_0, on the same sphere.
        divergence: Gives phi (default p = 2, phi(w) = -1/w).
        source: ``source(t, points)`` of shape (n,), for manufactured solutions.

    Raises:
        InputError: If the two densities live on different manifolds.
    """

    teacher: Density
    initial: Density
    divergence: PowerDivergence = field(default_factory=PowerDivergence)
    source: Source | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.divergence, PowerDivergence):
            raise InputError(
                f"UltraFastDiffusion: divergence = {self.divergence!r} must be a PowerDivergence"
            )
        if self.teacher.manifold != self.initial.manifold:
            raise InputError(
                f"UltraFastDiffusion: the teacher lives on {self.teacher.manifold} and the "
                f"initial density on {self.initial.manifold}; give both on one sphere"
            )

    @property
    def manifold(self) -> Sphere | Torus | Euclidean:
        """Where the features live."""
        return self.teacher.manifold

    def describe(self) -> dict[str, Any] | None:
        """The ``[problem]`` table of a case file; None when a function is part of the problem."""
        teacher, initial = self.teacher.describe(), self.initial.describe()
        if teacher is None or initial is None or self.source is not None:
            return None
        if isinstance(self.manifold, Euclidean):
            return None
        where: dict[str, Any] = {"manifold": "sphere", "dim": self.manifold.dim}
        if isinstance(self.manifold, Torus):
            where |= {"manifold": "torus", "period": self.manifold.period}
        return {
            **where,
            "p": self.divergence.p,
            "teacher": teacher,
            "initial": initial,
        }
