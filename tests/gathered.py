"""What lies over the ranks as one array on all of them, in the numbering of the built mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from petsc4py import PETSc


def nodal(grid, values: np.ndarray) -> np.ndarray:
    """Owned values of a mesh or a discretisation, (size, ...); collective."""
    shares = grid.comm.allgather((grid.input_index, values))
    result = np.empty((grid.size, *values.shape[1:]), dtype=values.dtype)
    for index, share in shares:
        result[index] = share
    return result


def matrix(rows, K: PETSc.Mat, columns=None) -> sparse.csr_array:
    """K, from the nodes of ``columns`` (left out: the same) to those of ``rows``; collective."""
    columns = columns or rows
    numbers = np.concatenate(columns.comm.allgather(columns.input_index))
    pointer, column, value = K.getValuesCSR()
    row = np.repeat(rows.input_index, np.diff(pointer))
    shares = rows.comm.allgather((row, numbers[column], value))
    row, column, value = (np.concatenate(part) for part in zip(*shares, strict=True))
    result = sparse.coo_array((value, (row, column)), shape=(rows.size, columns.size)).tocsr()
    result.sort_indices()
    assert result.nnz == len(value)
    return result
