"""Densities of a case file."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from ufd.exceptions import InputError
from ufd.problem.densities import AngularCauchy, Density, Mixture, Uniform, VonMisesFisher
from ufd.problem.manifolds import Sphere, Torus
from ufd.problem.torus import PeriodicCauchy
from ufd.problem.zonal import ZonalHarmonic


class Table(BaseModel):
    """Frozen values; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class at:
    """Puts the place in the case file before the message of an error."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, InputError):
            raise InputError(f"{self._place}: {error}") from None


def _check_length(key: str, vector: list[float], manifold: Sphere | Torus) -> None:
    if not isinstance(manifold, Sphere):
        raise InputError(f"{key}: this kind lives on spheres, not on {manifold}")
    if len(vector) != manifold.ambient_dim:
        raise InputError(
            f"{key} = {vector!r} has {len(vector)} entries; "
            f"a sphere of dim = {manifold.dim} needs {manifold.ambient_dim}"
        )


class UniformTable(Table):
    """The uniform density."""

    kind: Literal["uniform"]

    def build(self, manifold: Sphere | Torus) -> Density:
        """The density on ``manifold``."""
        return Uniform(cast(Sphere, manifold))


class VonMisesFisherTable(Table):
    """A von Mises-Fisher density."""

    kind: Literal["von_mises_fisher"]
    mean: list[float]
    kappa: float = Field(ge=0)

    def build(self, manifold: Sphere | Torus) -> Density:
        """The density on ``manifold``."""
        _check_length("mean", self.mean, manifold)
        return VonMisesFisher(self.mean, self.kappa)


class AngularCauchyTable(Table):
    """A wrapped Cauchy density on the circle."""

    kind: Literal["angular_cauchy"]
    gamma: float = Field(ge=0)
    centre: float = 0.0

    def build(self, manifold: Sphere | Torus) -> Density:
        """The density on ``manifold``."""
        if manifold != Sphere(1):
            raise InputError(
                f'kind = "angular_cauchy" lives on the circle, and dim = {manifold.dim}'
            )
        return AngularCauchy(self.gamma, self.centre)


class ZonalHarmonicTable(Table):
    """The uniform density times 1 + amplitude P(axis.x)."""

    kind: Literal["zonal_harmonic"]
    axis: list[float]
    degree: int = Field(ge=1)
    amplitude: float = Field(gt=-1, lt=1)

    def build(self, manifold: Sphere | Torus) -> Density:
        """The density on ``manifold``."""
        _check_length("axis", self.axis, manifold)
        return ZonalHarmonic(self.axis, self.degree, self.amplitude)


class PeriodicCauchyTable(Table):
    """A product of wrapped Cauchy densities on a torus."""

    kind: Literal["periodic_cauchy"]
    gamma: float = Field(ge=0)
    centre: list[float]

    def build(self, manifold: Sphere | Torus) -> Density:
        """The density on ``manifold``."""
        if not isinstance(manifold, Torus) or len(self.centre) != manifold.dim:
            raise InputError(
                f'kind = "periodic_cauchy" with {len(self.centre)} coordinates does not live on '
                f"{manifold}"
            )
        return cast(Density, PeriodicCauchy(self.gamma, self.centre, manifold.period))


class MixtureTable(Table):
    """A mixture; its weights sum to 1, or are divided by their sum on request."""

    kind: Literal["mixture"]
    weights: list[Annotated[float, Field(gt=0)]]
    components: list[DensityTable]
    normalize: bool = False

    def build(self, manifold: Sphere | Torus) -> Density:
        """The density on ``manifold``."""
        parts = []
        for i, table in enumerate(self.components):
            with at(f"components.{i}"):
                parts.append(table.build(manifold))
        total = sum(self.weights) if self.normalize else 1.0
        try:
            return Mixture(parts, [weight / total for weight in self.weights])
        except InputError as error:
            if len(parts) != len(self.weights):
                raise
            raise InputError(f"{error}; or set normalize = true") from None


DensityTable = Annotated[
    UniformTable
    | VonMisesFisherTable
    | AngularCauchyTable
    | ZonalHarmonicTable
    | PeriodicCauchyTable
    | MixtureTable,
    Field(discriminator="kind"),
]

DENSITIES: dict[str, type[Table]] = {
    "uniform": UniformTable,
    "von_mises_fisher": VonMisesFisherTable,
    "angular_cauchy": AngularCauchyTable,
    "zonal_harmonic": ZonalHarmonicTable,
    "periodic_cauchy": PeriodicCauchyTable,
    "mixture": MixtureTable,
}
