"""The ``[particles]`` table of a case file: an ensemble that is compared with the diffusion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ufd.config.densities import Table
from ufd.evolution.explicit import EXPLICIT
from ufd.exceptions import InputError
from ufd.problem.features import Feature, ReLU, Step


class FeatureTable(Table):
    """A sum of activations on the sphere, by their coefficients."""

    step: float = 0.0
    relu: float = 0.0
    relu2: float = 0.0

    def build(self) -> Feature:
        """The feature."""
        parts = ((self.step, Step()), (self.relu, ReLU()), (self.relu2, ReLU(2)))
        terms = [factor * part for factor, part in parts if factor != 0]
        if not terms:
            raise InputError("features: all coefficients are zero; a network needs a feature")
        return sum(terms[1:], terms[0])


Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class ParticlesTable(Table):
    """``[particles]``; see `compare`."""

    features: FeatureTable = FeatureTable(relu=1.0)
    lam: Annotated[list[Positive], Field(min_length=1)] = Field(default_factory=lambda: [1e-3])
    width: Annotated[list[Count], Field(min_length=1)] = Field(default_factory=lambda: [256])
    seeds: int = Field(1, ge=1)
    data: int | None = Field(None, ge=1)
    inputs: Literal["gaussian", "sphere"] = "gaussian"
    target: int | None = Field(None, ge=1)
    reference: float = 1.0
    start: Literal["quantile", "iid"] = "quantile"
    epsilon: float | None = Field(None, gt=0)
    stepper: Literal["rkc", "rk23", "euler", "euler_normalised"] = "rkc"
    rtol: float = Field(1e-3, gt=0, lt=1)
    dt: float | None = Field(None, gt=0)

    def options(self) -> dict[str, Any]:
        """Arguments of `compare` that the table fixes, the diffusion's excepted."""
        names = (
            *("lam", "width", "seeds", "data", "inputs", "target", "reference", "start"),
            *("epsilon", "rtol", "dt"),
        )
        return {
            **{name: getattr(self, name) for name in names},
            "features": self.features.build(),
            "stepper": EXPLICIT[self.stepper](),
        }
