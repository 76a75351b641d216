"""Blocks of numbered things over the ranks, and values by key from whichever rank has them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ufd.parallel import lookup, share


@pytest.mark.parametrize("size", range(1, 10))
def test_blocks_cover_everything_once(size):
    """In order, without gaps, of sizes that differ by one at most; by rank as by communicator."""
    for count in range(25):
        ranks = [SimpleNamespace(size=size, rank=rank) for rank in range(size)]
        blocks = [share(count, comm) for comm in ranks]
        assert [n for block in blocks for n in block] == list(range(count))
        assert max(map(len, blocks)) - min(map(len, blocks)) <= 1
        assert [share(count, ranks[0], rank) for rank in range(size)] == blocks


def dealt(comm, count: int, to: str, seed: int) -> np.ndarray:
    """Every key on one rank, the same draw on all: evenly, all on the last, or none on rank 0."""
    rng = np.random.default_rng(seed)
    keys = rng.permutation(count)
    lowest = {"all": 0, "last": comm.size - 1, "not first": min(1, comm.size - 1)}[to]
    return keys[rng.integers(lowest, comm.size, size=count) == comm.rank]


def number(keys: np.ndarray, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Values that tell their key and their place."""
    columns = np.arange(1, 1 + int(np.prod(shape))).reshape(shape)
    return (np.multiply.outer(keys, columns) + 7).astype(dtype)


@pytest.mark.mpi
@pytest.mark.parametrize("to", ["all", "last", "not first"])
@pytest.mark.parametrize(("shape", "dtype"), [((), np.int32), ((3,), float), ((2, 2), np.int64)])
@pytest.mark.parametrize("count", [1, 7, 100])
def test_values_by_key(comm, count, shape, dtype, to):
    """Any keys, in any order, some twice, others never, by as many ranks as ask."""
    keys = dealt(comm, count, to, seed=count)
    rng = np.random.default_rng(comm.rank)
    for asked in (0, 1, 3 * count) if comm.rank % 2 else (2 * count, 5, 0):
        wanted = rng.integers(0, count, size=asked)
        found = lookup(comm, keys, number(keys, shape, dtype), wanted, count)
        assert found.dtype == dtype and found.shape == (asked, *shape)
        assert np.array_equal(found, number(wanted, shape, dtype))


@pytest.mark.mpi
def test_missing_keys_are_zero(comm):
    """Nobody has the odd ones; there may be none at all."""
    keys = dealt(comm, 40, "all", seed=1)
    keys = keys[keys % 2 == 0]
    wanted = np.arange(40)[:: comm.rank + 1]
    found = lookup(comm, keys, keys + 1.0, wanted, 40)
    assert np.array_equal(found, np.where(wanted % 2, 0.0, wanted + 1.0))
    nothing = np.empty(0, dtype=np.int64)
    assert lookup(comm, nothing, np.empty((0, 2)), nothing, 0).shape == (0, 2)


@pytest.mark.mpi
def test_values_may_be_a_view(comm):
    """Columns of a Fortran array, every second row."""
    keys = dealt(comm, 30, "all", seed=2)
    values = np.asfortranarray(np.repeat(number(keys, (3,), float), 2, axis=0))[::2]
    found = lookup(comm, keys, values, np.arange(30), 30)
    assert np.array_equal(found, number(np.arange(30), (3,), float))
