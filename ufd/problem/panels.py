"""One-dimensional laws from their log-densities, and the inverses of their distribution functions.

A density is a polynomial on each of many panels, which are halved until their Legendre series
have settled. So a peak costs a few panels wherever it is, however narrow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from ufd.exceptions import InputError

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
_NODES, _MAX_PANELS, _MAX_LINE, _MAX_STEPS = 16, 2**17, 2**14, 80
# Error of a panel relative to the mass; relative error from which one halving leads to round-off.
_SETTLED, _NEARLY = 1e-13, 1e-7
# Relative errors below the first that halving leaves above this share are noise of the density.
_NOISE, _KEPT = 1e-3, 0.7


class PanelLaws:
    """Laws on one interval, one for each row, which need not be normalised.

    Args:
        log_density: Of the rows (n,) and the coordinates (n,) to the logarithms (n,).
        rows: How many laws.
        edges: Of the first panels, ascending, (m,); narrow peaks belong on them.
        noisy: Whether values may carry noise: a panel that halving does not improve is left, if
            it is nearly settled.

    Attributes:
        log_mass: Logarithms of the integrals, (rows,).

    Raises:
        InputError: If a density is too rough for some 10^5 panels, or one law for 10^4.
    """

    def __init__(
        self,
        log_density: Callable[[Rows, Array], Array],
        rows: int,
        edges: Array,
        noisy: bool = False,
    ):
        nodes, weights = legendre.leggauss(_NODES)
        analysis = weights[:, None] * legendre.legvander(nodes, _NODES - 1)
        analysis *= np.arange(_NODES) + 0.5

        def sample(row: Rows, left: Array, half: Array) -> Array:
            s = left[:, None] + half[:, None] * (1 + nodes)
            return log_density(np.repeat(row, _NODES), s.ravel()).reshape(s.shape)

        row = np.repeat(np.arange(rows), len(edges) - 1)
        left, half = np.tile(edges[:-1], rows), np.tile(np.diff(edges) / 2, rows)
        final, parent = np.zeros(len(row), bool), np.full(len(row), np.inf)
        logs = sample(row, left, half)
        while True:
            top = np.full(rows, -np.inf)
            np.maximum.at(top, row, logs.max(axis=1))
            values = np.exp(logs - top[row, None])
            series = values @ analysis * half[:, None]
            mass = np.bincount(row, 2 * series[:, 0], rows)
            tail = np.abs(series[:, -2:]).max(axis=1)
            split = (tail > _SETTLED * mass[row]) & ~final
            relative = tail / np.maximum(half * values.max(axis=1), 1e-300)
            if noisy:
                split &= (parent > _NOISE) | (relative <= _KEPT * parent)
            if not split.any():
                break
            if len(row) > (_MAX_PANELS if rows > 1 else _MAX_LINE):
                raise InputError(
                    "density: too rough or too sharp for positions; give a smoother density"
                )
            # Children of a panel that was near its end are left with the round-off of their
            # values, which no halving cures.
            nearly = tail[split] <= _NEARLY * half[split] * values[split].max(axis=1)
            parent = np.concatenate([parent[~split], np.repeat(relative[split], 2)])
            half_new = np.repeat(half[split] / 2, 2)
            left_new = np.repeat(left[split], 2)
            left_new[1::2] += half[split]
            row_new = np.repeat(row[split], 2)
            logs = np.concatenate([logs[~split], sample(row_new, left_new, half_new)])
            row = np.concatenate([row[~split], row_new])
            left = np.concatenate([left[~split], left_new])
            half = np.concatenate([half[~split], half_new])
            final = np.concatenate([final[~split], np.repeat(nearly, 2)])
        self.log_mass = top + np.log(mass)
        order = np.lexsort((left, row))
        self._left, self._half = left[order], half[order]
        self._series = (series / mass[row, None])[order].T
        self._integral = legendre.legint(self._series, lbnd=-1)
        # Row r takes up the interval from r to r + 1.
        self._share = 2 * self._series[0]
        self._start = np.concatenate([[0.0], np.cumsum(self._share)[:-1]])
        self._first = np.searchsorted(row[order], np.arange(rows + 1))

    def inverse(self, row: Rows, u: Array) -> Array:
        """Where the distribution functions of rows (n,) take the values u (n,) in (0, 1); (n,)."""
        first = self._first[row]
        goal = self._start[first] + u
        k = np.searchsorted(self._start, goal, side="right") - 1
        k = np.clip(k, first, self._first[row + 1] - 1)
        goal -= self._start[k]
        series, integral, share = self._series[:, k], self._integral[:, k], self._share[k]
        low, high, s = np.full(len(k), -1.0), np.ones(len(k)), np.zeros(len(k))
        # Newton's method, and halves of the bracket where it would leave it.
        for _ in range(_MAX_STEPS):
            miss = legendre.legval(s, integral, tensor=False) - goal
            low, high = np.where(miss < 0, s, low), np.where(miss < 0, high, s)
            slope = np.maximum(legendre.legval(s, series, tensor=False), 1e-200)
            before, s = s, s - miss / slope
            s = np.where((low <= s) & (s <= high), s, (low + high) / 2)
            if np.all((np.abs(s - before) <= 1e-15) | (np.abs(miss) <= 1e-15 * share)):
                break
        return self._left[k] + self._half[k] * (1 + s)

    def table(self, each: int) -> tuple[Array, Array]:
        """Coordinates, ``each`` to a panel, and the first law's distribution function there."""
        s = np.linspace(-1, 1, each, endpoint=False)
        k = slice(0, self._first[1])
        x = self._left[k, None] + self._half[k, None] * (1 + s)
        values = self._start[k, None] + legendre.legval(s, self._integral[:, k])
        end = self._left[k][-1] + 2 * self._half[k][-1]
        return np.append(x.ravel(), end), np.append(values.ravel(), 1.0)
