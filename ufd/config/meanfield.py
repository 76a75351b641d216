"""The ``[meanfield]`` table of a case file: infinitely many neurons, and what a width adds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ufd.config.densities import Table
from ufd.config.particles import Count, FeatureTable


class MeanFieldTable(Table):
    """``[meanfield]``; see `meanfield`, and with a ``width`` `decompose`."""

    features: FeatureTable = FeatureTable(relu=1.0)
    lam: float = Field(1e-3, ge=0)
    inputs: Literal["gaussian", "sphere"] = "gaussian"
    reference: float = 1.0
    harmonics: int | None = Field(None, ge=1)
    degree: int | None = Field(None, ge=1, le=8)
    cells: int | None = Field(None, ge=0)
    rtol: float = Field(1e-5, gt=0, lt=1)
    width: Count | None = None
    seeds: int = Field(4, ge=1)
    data: int | None = Field(None, ge=1)
    target: int | None = Field(None, ge=1)
    start: Literal["quantile", "iid"] = "iid"

    def options(self) -> dict[str, Any]:
        """Arguments of `meanfield` that the table fixes."""
        return {**self._shared(), **self._densities()}

    def ensemble(self) -> dict[str, Any]:
        """Arguments of `decompose` that the table fixes."""
        names = ("width", "seeds", "data", "target", "start")
        return {
            **self._shared(),
            **{name: getattr(self, name) for name in names},
            "densities": self._densities(),
        }

    def _shared(self) -> dict[str, Any]:
        return {
            "features": self.features.build(),
            **{name: getattr(self, name) for name in ("lam", "inputs", "reference")},
        }

    def _densities(self) -> dict[str, Any]:
        names = ("harmonics", "degree", "cells", "rtol")
        return {name: value for name in names if (value := getattr(self, name)) is not None}
