"""Penalties f of the outer weights: f, its derivatives, and the inverse of f'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ufd.exceptions import InputError
from ufd.problem.checks import number
from ufd.problem.divergences import PowerDivergence, power_entropy

Array = NDArray[np.float64]
# Newton's methods need a slope neither zero nor infinite.
_LEAST_RESPONSE = 1e-3


class Penalty(Protocol):
    """A strictly convex function f of an outer weight u."""

    def value(self, u: Array) -> Array:
        """f(u)."""

    def slope(self, u: Array) -> Array:
        """f'(u)."""

    def curvature(self, u: Array) -> Array:
        """f''(u) > 0."""

    def minimiser(self, g: Array) -> Array:
        """(f^*)'(g): the u with f'(u) = g, 0 where g is below all of them; nan where above."""

    def response(self, u: Array) -> Array:
        """du/dg = 1/f''(u) of the minimiser, kept within bounds where u vanishes."""


@dataclass(frozen=True)
class QuadraticPenalty:
    """f(u) = (u - reference)^2/2: unbiased for reference 1, biased for 0 (arXiv 2504.18208)."""

    reference: float

    def value(self, u: Array) -> Array:
        """See `Penalty`."""
        return (u - self.reference) ** 2 / 2

    def slope(self, u: Array) -> Array:
        """See `Penalty`."""
        return u - self.reference

    def curvature(self, u: Array) -> Array:
        """See `Penalty`."""
        return np.ones_like(u)

    def minimiser(self, g: Array) -> Array:
        """See `Penalty`."""
        return g + self.reference

    def response(self, u: Array) -> Array:
        """See `Penalty`."""
        return np.ones_like(u)


@dataclass(frozen=True)
class PowerPenalty:
    """f(u) = (u^p - p u + p - 1)/(p (p - 1)) for u > 0, with its limits at p = 0 and 1."""

    p: float

    def value(self, u: Array) -> Array:
        """See `Penalty`."""
        return power_entropy(u, self.p)

    def slope(self, u: Array) -> Array:
        """See `Penalty`."""
        # (u^(p-1) - 1)/(p - 1) without cancellation near u = 1 or p = 1.
        return np.log(u) if self.p == 1 else np.expm1((self.p - 1) * np.log(u)) / (self.p - 1)

    def curvature(self, u: Array) -> Array:
        """See `Penalty`."""
        return u ** (self.p - 2)

    def minimiser(self, g: Array) -> Array:
        """See `Penalty`."""
        if self.p == 1:
            return np.exp(g)
        base = (self.p - 1) * g
        if self.p > 1:  # f'(0) is finite
            base = np.maximum(base, -1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.exp(np.log1p(base) / (self.p - 1))

    def response(self, u: Array) -> Array:
        """See `Penalty`."""
        with np.errstate(divide="ignore", over="ignore"):
            return np.clip(u ** (2 - self.p), _LEAST_RESPONSE, 1 / _LEAST_RESPONSE)


@dataclass(frozen=True)
class FixedWeights:
    """No choice: u = 1, f is 0 there and infinite elsewhere; f^*(g) = g.

    The risk is then that of the mean of all features, |f* - Phi mu|^2/2 for lam = 1.
    """

    def value(self, u: Array) -> Array:
        """See `Penalty`."""
        return np.zeros_like(u)

    def slope(self, u: Array) -> Array:
        """See `Penalty`: any number is one; that of g = 0."""
        return np.zeros_like(u)

    def curvature(self, u: Array) -> Array:
        """See `Penalty`."""
        return np.full_like(u, np.inf)

    def minimiser(self, g: Array) -> Array:
        """See `Penalty`."""
        return np.ones_like(g)

    def response(self, u: Array) -> Array:
        """See `Penalty`."""
        return np.zeros_like(u)


def penalty_of(
    divergence: PowerDivergence, reference: Any, owner: str = "train"
) -> QuadraticPenalty | PowerPenalty:
    """The penalty whose limit is the diffusion of a divergence.

    Args:
        divergence: Of power p.
        reference: The minimiser of f: 1, or for p = 2 any number.
        owner: Whose argument it is, for messages.

    Raises:
        InputError: If the reference is not finite, or not 1 for p other than 2.
    """
    target = number(owner, "reference", reference)
    if divergence.p == 2:
        return QuadraticPenalty(target)
    if target != 1:
        raise InputError(
            f"{owner}: reference = {target:g} is for p = 2 only; the penalty of p = "
            f"{divergence.p:g} is least at 1"
        )
    return PowerPenalty(divergence.p)
