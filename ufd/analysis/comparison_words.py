"""What a comparison of particles with the diffusion says in words: title, setting, reading."""

from __future__ import annotations

from typing import Any

from ufd.analysis.comparison import Comparison
from ufd.analysis.pages import short

_FLOOR = (
    "MMD is the energy distance, sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|) with chord lengths. M "
    "atoms are never at distance zero from a smooth density. The floor is what is left when "
    "nothing else is wrong: the distance of the diffusion to M of its own quantiles."
)
_SAMPLING = (
    " Dotted: the root mean square distance of the diffusion to M independent draws from it, where "
    "these particles start. Particles repel each other and end below it."
)
_EXCESS = (
    "The excess is sqrt(distance² - floor²). For atoms at quantiles, distance² = bias² + floor² "
    "(derived in docs/theory.md): the excess is the bias of lam once M resolves the density. Near "
    "the floor it is a difference of nearly equal numbers; below half of the floor it is marked * "
    "and not fitted. The width part is the distance to the widest run of the same lam and seed: "
    "what M alone still changes, and what the atoms of that run add."
)
_POWERS = (
    "No clean power of lam is expected: regularisation damps every mode of the density by another "
    "factor. So local orders between neighbours are given, and one power only where three "
    "distances or more stand clear of the floor and fall. An order is at the floor if its finer "
    "distance is below three floors: it says little about lam or about the limit. A plateau of "
    "the excess is no floor: look for harmonics that the features do not see (plain ReLU), for "
    "drawn data, and for the tolerance of the steps."
)


def title(comparison: Comparison) -> str:
    """Of the page: the manifold and p."""
    problem, p = comparison.configuration["problem"], comparison.configuration["p"]
    where = ""
    if problem is not None:
        dim = problem["dim"]
        where = f" on {({1: 'the circle S^1', 2: 'the sphere S^2'}).get(dim, f'S^{dim}')}"
        if problem["manifold"] == "torus":
            where = f" on the torus T^{dim} of period {problem['period']:g}"
    return f"Particles and their diffusion{where}, p = {p:g}"


def explanation(comparison: Comparison) -> list[str]:
    """What a floor, an excess and an order are: paragraphs."""
    drawn = comparison.configuration["start"] == "iid"
    return [_FLOOR + _SAMPLING * drawn, _EXCESS, _POWERS]


def error_note(comparison: Comparison) -> str:
    """What the errors are, or why there are none."""
    seeds = comparison.configuration["seeds"]
    if seeds > 1:
        return f"errors: one standard error over {seeds} seeds"
    return (
        "one seed: no error is known" if _drawn(comparison) else "nothing is drawn: deterministic"
    )


def setting(comparison: Comparison) -> list[tuple[str, Any]]:
    """What was compared: names and values."""
    asked, limit = comparison.configuration["particles"], comparison.configuration["diffusion"]
    problem = comparison.configuration["problem"] or {"teacher": None, "initial": None}
    function, target = "a Python function", asked["target"]
    data = "the population" if asked["data"] is None else f"{asked['data']} samples"
    starts = {"quantile": "quantiles of the initial density", "iid": "independent draws from it"}
    size = f"dt = {asked['dt']:g}" if asked["dt"] else f"rtol = {asked['rtol']:g}"
    extra = [f"{key} = {asked[key]:g}" for key in ("epsilon", "batch", "momentum") if asked[key]]
    mesh = "a mesh from a file" if limit["cells"] is None else f"cells = {limit['cells']}"
    steps = f"dt = {limit['dt']:g}" if limit["dt"] else f"rtol = {limit['rtol']:g}"
    return [
        ("teacher", _shown(problem["teacher"] or function)),
        ("initial density", _shown(problem["initial"] or function)),
        ("divergence, penalty", f"p = {comparison.configuration['p']:g}, least at the outer weight "
         f"{asked['reference']:g}"),
        ("features", _shown(asked["features"] or function)),
        ("what they see", comparison.configuration["identifiability"]),
        ("data", f"{data}, inputs {asked['inputs']}"),
        ("targets", "the teacher itself" if target is None else
         "given atoms" if target == "atoms" else f"{target} atoms drawn from the teacher"),
        ("particles start at", starts.get(asked["start"], "given points")),
        ("lam", comparison.lams),
        ("width M", comparison.widths),
        ("seeds", f"{comparison.configuration['seeds']}; {error_note(comparison)}"),
        ("particles step by", ", ".join([asked["stepper"], size, *extra])),
        ("reference", f"the diffusion by finite elements of degree {limit['degree']}, {mesh}; "
         f"{limit['stepper']} with {steps}. Its own error is in no error below"),
    ]  # fmt: skip


def _drawn(comparison: Comparison) -> bool:
    asked = comparison.configuration["particles"]
    return asked["start"] == "iid" or any(asked[key] is not None for key in ("data", "batch"))


def _shown(value: Any) -> str:
    """A table of a case file as a call: kind(key = value)."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_shown(v)}" for key, v in value.items() if key != "kind")
        return f"{value.get('kind', '')}({inner})" if inner else value["kind"]
    return f"({', '.join(map(_shown, value))})" if isinstance(value, list) else short(value)
