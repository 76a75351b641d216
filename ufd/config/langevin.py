"""The ``[langevin]`` table of a case file: noisy training of infinitely many neurons."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ufd.config.densities import Table
from ufd.config.particles import FeatureTable


class LangevinTable(Table):
    """``[langevin]``; see `langevin`."""

    features: FeatureTable = FeatureTable(relu=1.0)
    temperature: float = Field(ge=0)
    lam: float | None = Field(None, ge=0)
    end: float | None = Field(None, gt=0)
    rates: int = Field(6, ge=0)
    inputs: Literal["gaussian", "sphere"] = "gaussian"
    harmonics: int | None = Field(None, ge=1)
    degree: int | None = Field(None, ge=1, le=8)
    cells: int | None = Field(None, ge=0)
    rtol: float = Field(1e-5, gt=0, lt=1)

    def options(self) -> dict[str, Any]:
        """Arguments of `langevin` that the table fixes, the times excepted."""
        names = ("temperature", "lam", "rates", "inputs", "harmonics", "degree", "cells", "rtol")
        fixed = {name: value for name in names if (value := getattr(self, name)) is not None}
        return {"features": self.features.build(), **fixed}
