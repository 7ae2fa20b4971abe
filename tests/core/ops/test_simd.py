"""The vectors of numba kernels against numpy."""

from __future__ import annotations

import numpy as np
import pytest

nb = pytest.importorskip("numba")

from statewise.core.ops.simd import (  # noqa: E402 - numba may be missing
    LANES,
    add,
    exp2,
    fma,
    load,
    load_part,
    mul,
    scratch,
    splat,
    store,
    store_part,
    total,
    zeros,
)

kinds = pytest.mark.parametrize("kind", [np.float32, np.float64])


@nb.njit
def _apply_exp2(x, y):
    for i in range(0, len(x), LANES):
        store(y, i, exp2(load(x, i)))


@nb.njit
def _arithmetic(a, b, out):
    x, y = load(a, 0), load(b, 0)
    store(out, 0, add(mul(2, x), fma(x, 3.0, fma(0.5, y, splat(a[0])))))
    return total(add(zeros(a), x))


@nb.njit
def _copy_part(a, b, count):
    store_part(b, 1, count, add(load_part(a, 1, count), 1))


@nb.njit
def _first_address(like, size):
    room = scratch(size, like)
    return room.ctypes.data, room.sum(), len(room)


@kinds
def test_exp2_is_exact_to_one_unit_in_the_last_place(kind):
    lowest = np.log2(np.finfo(kind).tiny)
    x = np.concatenate([np.linspace(lowest, 40, 4096), -np.logspace(-9, 0, 4096), [0.0] * LANES]).astype(kind)
    y = np.empty_like(x)
    _apply_exp2(x, y)
    expected = np.exp2(x.astype(np.longdouble))
    assert np.max(np.abs(y / expected - 1)) < np.finfo(kind).eps
    assert y[-1] == 1


@kinds
def test_exp2_at_the_edges(kind):
    x = np.zeros(LANES, kind)
    x[:5] = [-np.inf, np.inf, np.nan, np.log2(np.finfo(kind).tiny) - 1, np.log2(np.finfo(kind).max) + 1]
    y = np.empty_like(x)
    _apply_exp2(x, y)
    np.testing.assert_array_equal(y[:6], np.array([0, np.inf, np.nan, 0, np.inf, 1], kind))


@kinds
def test_arithmetic_takes_scalars_of_any_kind(kind):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, LANES)).astype(kind)
    out = np.empty_like(a)
    assert _arithmetic(a, b, out) == pytest.approx(a.sum(), rel=1e-5)
    np.testing.assert_allclose(out, 5 * a + 0.5 * b + a[0], rtol=0, atol=20 * np.finfo(kind).eps)


@kinds
@pytest.mark.parametrize("count", [-1, 0, 1, LANES - 1, LANES])
def test_parts_touch_nothing_else(kind, count):
    a, b = np.arange(LANES + 1, dtype=kind), np.full(LANES + 1, -1, kind)
    _copy_part(a, b, count)
    inside = slice(1, 1 + max(0, count))
    np.testing.assert_array_equal(b[inside], a[inside] + 1)
    assert b[0] == -1
    assert (b[inside.stop :] == -1).all()


@kinds
def test_scratch_is_zero_and_starts_on_a_cache_line(kind):
    for size in (1, 7, 64):
        address, sum_, length = _first_address(np.zeros(1, kind), size)
        assert (address % 64, sum_, length) == (0, 0, size)
