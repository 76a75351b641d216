"""Degree 1 on the nodes of high-order elements: sparse, with the same spectrum up to a factor.

Each cell of degree k is cut into k^2 quadrilaterals between neighbouring nodes and those into
triangles, both ways with half the weight, so that no direction is preferred.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from ufd.fem.weights import edge_means

Array = NDArray[np.float64]


def triangles_between(steps: NDArray[np.int64]) -> NDArray[np.intp]:
    """Triangles between the nodes of a quadrilateral element, each point covered twice.

    Args:
        steps: Place of each node of the element along its two axes, (n, 2).

    Returns:
        (4 k^2, 3) places of nodes in the element.
    """
    place = {tuple(step): node for node, step in enumerate(steps.tolist())}
    triangles = []
    for i, j in itertools.product(range(steps[:, 0].max()), range(steps[:, 1].max())):
        a, b, c, d = (place[i + x, j + y] for x, y in ((0, 0), (1, 0), (1, 1), (0, 1)))
        triangles += [(a, b, c), (a, c, d), (a, b, d), (b, c, d)]
    return np.array(triangles)


def low_order_edges(
    points: Array, triangles: NDArray[np.int32], log_weight: Array
) -> tuple[NDArray[np.int32], NDArray[np.int32], Array]:
    """Edges of triangles that cover a surface twice, with their weights in the stiffness matrix.

    Args:
        points: Nodes, (n, gdim).
        triangles: (m, 3) places in ``points``.
        log_weight: At the nodes, (n,).

    Returns:
        Ends (3 m,), (3 m,) and weights (3 m,); an edge occurs once for each of its triangles.
    """
    corners = points[triangles]
    sides = np.roll(corners, -2, axis=1) - np.roll(corners, -1, axis=1)
    squared = (sides**2).sum(axis=2)
    doubled = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    # Half of half the cotangent at each corner: the surface is covered twice.
    weights = (squared.sum(axis=1, keepdims=True) - 2 * squared) / (8 * doubled[:, None])
    a, b = np.roll(triangles, -1, axis=1).ravel(), np.roll(triangles, -2, axis=1).ravel()
    return a, b, weights.ravel() * edge_means(log_weight[a], log_weight[b])
