"""ufd: weighted ultra-fast diffusion, the two-timescale limit of feature learning.

The names below load on first use: ``import ufd`` itself imports neither DOLFINx nor PyVista.
"""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Sphere": "problem.manifolds",
    "Torus": "problem.manifolds",
    "PeriodicCauchy": "problem.torus",
    "Uniform": "problem.densities",
    "VonMisesFisher": "problem.densities",
    "AngularCauchy": "problem.densities",
    "Mixture": "problem.densities",
    "ZonalHarmonic": "problem.zonal",
    "density": "problem.callables",
    "PowerDivergence": "problem.divergences",
    "UltraFastDiffusion": "problem.diffusion",
    "quantisation_teacher": "problem.quantisation",
    "quantisation_time_scale": "problem.quantisation",
    "Measure": "problem.measures",
    "BackwardEuler": "evolution.steppers",
    "SDIRK2": "evolution.steppers",
    "SDIRK3": "evolution.steppers",
    "SDIRK4": "evolution.steppers",
    "StopReason": "evolution.evolve",
    "Checkpoint": "evolution.checkpoint",
    "DiffusionSolver": "fem.diffusion",
    "Focus": "fem.focus",
    "spectral_gap": "fem.spectrum",
    "solve": "solve",
    "load": "stored",
    "train": "train",
    "compare": "compare",
    "decompose": "decompose",
    "contrast": "contrast",
    "meanfield": "regularised",
    "langevin": "regularised",
    "Annealing": "problem.temperatures",
    "univariate": "univariate",
    "StepTarget": "problem.knots",
    "RampTarget": "problem.knots",
    "MeanFieldSolver": "meanfield.solver",
    "VarProSolver": "particles.solver",
    "ReLU": "problem.features",
    "Step": "problem.features",
    "Activation": "problem.features",
    "KernelSpectrum": "problem.features",
    "LaplaceRBF": "problem.features",
    "GaussianRBF": "problem.features",
    "Euclidean": "problem.euclidean",
    "Gaussian": "problem.euclidean",
    "Euler": "evolution.explicit",
    "EulerMaruyama": "evolution.explicit",
    "RK23": "evolution.explicit",
    "RKC": "evolution.explicit",
    "identifiability": "problem.identifiability",
    "mmd": "problem.distances",
    "sobolev_distance": "problem.distances",
    "minimum_image_discrepancy": "problem.distances",
    "sampling_floor": "problem.distances",
    "wasserstein": "problem.transport",
    "quantiles": "problem.positions",
    "independent": "problem.positions",
    "fit_rate": "analysis.rates",
    "abort_on_error": "parallel",
    "UfdError": "exceptions",
    "InputError": "exceptions",
    "StorageError": "exceptions",
    "SolverError": "exceptions",
}
__all__ = ["__version__", *_PUBLIC]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ufd' has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_PUBLIC[name]}")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Importing ``ufd.solve`` binds that name to the module; the public function must keep it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


if TYPE_CHECKING:
    from ufd.analysis.rates import fit_rate as fit_rate
    from ufd.compare import compare as compare
    from ufd.contrast import contrast as contrast
    from ufd.decompose import decompose as decompose
    from ufd.evolution.checkpoint import Checkpoint as Checkpoint
    from ufd.evolution.evolve import StopReason as StopReason
    from ufd.evolution.explicit import RK23 as RK23
    from ufd.evolution.explicit import RKC as RKC
    from ufd.evolution.explicit import Euler as Euler
    from ufd.evolution.explicit import EulerMaruyama as EulerMaruyama
    from ufd.evolution.steppers import SDIRK2 as SDIRK2
    from ufd.evolution.steppers import SDIRK3 as SDIRK3
    from ufd.evolution.steppers import SDIRK4 as SDIRK4
    from ufd.evolution.steppers import BackwardEuler as BackwardEuler
    from ufd.exceptions import InputError as InputError
    from ufd.exceptions import SolverError as SolverError
    from ufd.exceptions import StorageError as StorageError
    from ufd.exceptions import UfdError as UfdError
    from ufd.fem.diffusion import DiffusionSolver as DiffusionSolver
    from ufd.fem.focus import Focus as Focus
    from ufd.fem.spectrum import spectral_gap as spectral_gap
    from ufd.meanfield.solver import MeanFieldSolver as MeanFieldSolver
    from ufd.parallel import abort_on_error as abort_on_error
    from ufd.particles.solver import VarProSolver as VarProSolver
    from ufd.problem.callables import density as density
    from ufd.problem.densities import AngularCauchy as AngularCauchy
    from ufd.problem.densities import Mixture as Mixture
    from ufd.problem.densities import Uniform as Uniform
    from ufd.problem.densities import VonMisesFisher as VonMisesFisher
    from ufd.problem.diffusion import UltraFastDiffusion as UltraFastDiffusion
    from ufd.problem.distances import minimum_image_discrepancy as minimum_image_discrepancy
    from ufd.problem.distances import mmd as mmd
    from ufd.problem.distances import sampling_floor as sampling_floor
    from ufd.problem.distances import sobolev_distance as sobolev_distance
    from ufd.problem.divergences import PowerDivergence as PowerDivergence
    from ufd.problem.euclidean import Euclidean as Euclidean
    from ufd.problem.euclidean import Gaussian as Gaussian
    from ufd.problem.features import Activation as Activation
    from ufd.problem.features import GaussianRBF as GaussianRBF
    from ufd.problem.features import KernelSpectrum as KernelSpectrum
    from ufd.problem.features import LaplaceRBF as LaplaceRBF
    from ufd.problem.features import ReLU as ReLU
    from ufd.problem.features import Step as Step
    from ufd.problem.identifiability import identifiability as identifiability
    from ufd.problem.knots import RampTarget as RampTarget
    from ufd.problem.knots import StepTarget as StepTarget
    from ufd.problem.manifolds import Sphere as Sphere
    from ufd.problem.manifolds import Torus as Torus
    from ufd.problem.measures import Measure as Measure
    from ufd.problem.positions import independent as independent
    from ufd.problem.positions import quantiles as quantiles
    from ufd.problem.quantisation import quantisation_teacher as quantisation_teacher
    from ufd.problem.quantisation import quantisation_time_scale as quantisation_time_scale
    from ufd.problem.temperatures import Annealing as Annealing
    from ufd.problem.torus import PeriodicCauchy as PeriodicCauchy
    from ufd.problem.transport import wasserstein as wasserstein
    from ufd.problem.zonal import ZonalHarmonic as ZonalHarmonic
    from ufd.regularised import langevin as langevin
    from ufd.regularised import meanfield as meanfield
    from ufd.solve import solve as solve
    from ufd.stored import load as load
    from ufd.train import train as train
    from ufd.univariate import univariate as univariate
