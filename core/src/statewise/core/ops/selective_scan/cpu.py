"""`selective_scan` for CPUs: numba, a vector of channels at a time, states in registers.

The sequence is taken in segments. For one state n of one vector of channels the whole segment is run before
the next n, so that h stays in a register and all that the steps share stays in the nearest cache. Forwards
keeps the state before each segment; backwards runs a segment again from there, keeps its decays and carried
parts, and unwinds it. exp(dt A) is a power of two with the factor log2(e) in A.

A work item is a batch row and a share of the channels, fixed by the shapes, with sums of its own for the
gradients of B and C: results are the same for any number of threads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np
import torch
from torch import Tensor

from statewise.core.ops.buffers import blank, empty, empty_like
from statewise.core.ops.elementary import sigmoid, softplus
from statewise.core.ops.kernel import kernel
from statewise.core.ops.simd import (
    LANES,
    add,
    exp2,
    fma,
    load,
    load_part,
    mul,
    scratch,
    splat_at,
    store,
    store_part,
    total,
    zeros,
)
from statewise.core.ops.threads import over
from statewise.core.ops.tiles import INNER, clear, copy

__all__ = ["backward", "forward", "warmup"]

OPTIONS = {"nogil": True}
LN2 = math.log(2.0)
ITEMS = 16
"""Work items that a small batch is divided into, where its channels allow."""


class Inputs(NamedTuple):
    """The arguments as arrays."""

    u: np.ndarray  # (B L, D)
    dt: np.ndarray  # (B L, D)
    A: np.ndarray  # (N, D), times log2(e)
    B: np.ndarray  # (B L, G, N)
    C: np.ndarray  # (B L, G, N)
    cut: np.ndarray  # (B, L) bool
    segment: int
    shares: int  # work items per batch row
    softplus: bool  # whether dt is before the softplus


class Gradients(NamedTuple):
    """Gradients of the results, the states kept, and room for the gradients of the arguments; flat."""

    y: np.ndarray
    h_last: np.ndarray  # (B, N, D)
    saved: np.ndarray  # (B, S, N, D)
    u: np.ndarray
    dt: np.ndarray
    A: np.ndarray  # (B, N, D)
    B: np.ndarray  # (work items, L, G, N)
    C: np.ndarray
    h0: np.ndarray  # (B, N, D)


class Room(NamedTuple):
    """Scratch for a segment of one vector of channels: (T, LANES) each."""

    dt: np.ndarray
    write: np.ndarray  # dt u
    y: np.ndarray
    u: np.ndarray
    dy: np.ndarray
    decay: np.ndarray
    carried: np.ndarray  # decay times the state before
    d_dt: np.ndarray
    d_write: np.ndarray
    raw: np.ndarray  # dt before the softplus


@nb.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _new_room(like, segment):
    size = segment * LANES
    room = scratch(10 * size, like)
    return Room(
        room[:size],
        room[size : 2 * size],
        room[2 * size : 3 * size],
        room[3 * size : 4 * size],
        room[4 * size : 5 * size],
        room[5 * size : 6 * size],
        room[6 * size : 7 * size],
        room[7 * size : 8 * size],
        room[8 * size : 9 * size],
        room[9 * size :],
    )


@nb.njit(**INNER)
def _tile(inputs, index):
    """First channel, number of channels and group of a vector; none reaches into the next group."""
    channels = inputs.u.shape[1] // inputs.B.shape[1]
    per_group = (channels + LANES - 1) // LANES
    group = index // per_group
    start = index % per_group * LANES
    return group * channels + start, min(LANES, channels - start), group


@nb.njit(**INNER)
def _share(inputs, share):
    """The vectors lo..hi that a share of the channels consists of."""
    channels, groups = inputs.u.shape[1], inputs.B.shape[1]
    tiles = (channels // groups + LANES - 1) // LANES * groups
    return share * tiles // inputs.shares, (share + 1) * tiles // inputs.shares


@nb.njit(**INNER)
def _enter(inputs, row, count, first, live, room):
    """Bring dt, u and their product for the steps of a segment into scratch."""
    width = inputs.u.shape[1]
    for t in range(count):
        here = (row + t) * width + first
        store(room.raw, t * LANES, load_part(inputs.dt, here, live))
        store(room.u, t * LANES, load_part(inputs.u, here, live))
    if inputs.softplus:
        for i in range(count * LANES):
            room.dt[i] = softplus(room.raw[i])
    else:
        copy(room.raw, room.dt)
    for i in range(0, count * LANES, LANES):
        store(room.write, i, mul(load(room.dt, i), load(room.u, i)))


@nb.njit(**INNER)
def _advance(inputs, row, count, group, n, a, h, cut, room):
    """One state through the steps of a segment, added to y; returns it at the end."""
    groups, states = inputs.B.shape[1:]
    for t in range(count):
        decay = exp2(mul(a, load(room.dt, t * LANES)))
        place = ((row + t) * groups + group) * states + n
        write = mul(splat_at(inputs.B, place), load(room.write, t * LANES))
        h = write if cut[t] else fma(decay, h, write)
        store(room.y, t * LANES, fma(splat_at(inputs.C, place), h, load(room.y, t * LANES)))
    return h


@nb.njit(**INNER)
def _forward_tile(inputs, b, index, h0, y, h_last, saved, state, room):
    """All steps of one vector of channels."""
    length, (states, width) = inputs.cut.shape[1], inputs.A.shape
    first, live, group = _tile(inputs, index)
    segments = (length + inputs.segment - 1) // inputs.segment
    for n in range(states):
        store(state, n * LANES, load_part(h0, (b * states + n) * width + first, live))
    for start in range(0, length, inputs.segment):
        row, count = b * length + start, min(inputs.segment, length - start)
        _enter(inputs, row, count, first, live, room)
        clear(room.y)
        for n in range(states):
            h = load(state, n * LANES)
            if len(saved) > 0:
                store_part(
                    saved, ((b * segments + start // inputs.segment) * states + n) * width + first, live, h
                )
            a = load_part(inputs.A, n * width + first, live)
            h = _advance(inputs, row, count, group, n, a, h, inputs.cut[b, start:], room)
            store(state, n * LANES, h)
        for t in range(count):
            store_part(y, (row + t) * width + first, live, load(room.y, t * LANES))
    for n in range(states):
        store_part(h_last, (b * states + n) * width + first, live, load(state, n * LANES))


@kernel(**OPTIONS)
def _forward(inputs, h0, y, h_last, saved, lo, hi):
    """Outputs, last states and states to keep of the work items lo..hi."""
    state, room = scratch(inputs.A.shape[0] * LANES, y), _new_room(y, inputs.segment)
    for item in range(lo, hi):
        first, end = _share(inputs, item % inputs.shares)
        for index in range(first, end):
            _forward_tile(inputs, item // inputs.shares, index, h0, y, h_last, saved, state, room)


@nb.njit(**INNER)
def _recall(inputs, row, count, group, n, a, h, cut, room):
    """The decays and carried parts of one state through a segment."""
    groups, states = inputs.B.shape[1:]
    for t in range(count):
        decay = zeros(room.dt) if cut[t] else exp2(mul(a, load(room.dt, t * LANES)))
        carried = zeros(room.dt) if cut[t] else mul(decay, h)
        place = ((row + t) * groups + group) * states + n
        h = fma(splat_at(inputs.B, place), load(room.write, t * LANES), carried)
        store(room.decay, t * LANES, decay)
        store(room.carried, t * LANES, carried)


@nb.njit(**INNER)
def _retreat(inputs, row, count, group, n, a, dh, cut, dB, dC, at, room):
    """Unwind one state over a segment, from the gradient dh of its end; those of its start and of a."""
    groups, states = inputs.B.shape[1:]
    da = zeros(room.dt)
    for t in range(count - 1, -1, -1):
        here, place = t * LANES, ((row + t) * groups + group) * states + n
        b, write, dy = splat_at(inputs.B, place), load(room.write, here), load(room.dy, here)
        carried = load(room.carried, here)
        dh = fma(splat_at(inputs.C, place), dy, dh)
        slot = at + (t * groups + group) * states + n
        dC[slot] += total(mul(fma(b, write, carried), dy))
        dB[slot] += total(mul(dh, write))
        store(room.d_write, here, fma(b, dh, load(room.d_write, here)))
        rate = mul(dh, carried)
        store(room.d_dt, here, fma(a, rate, load(room.d_dt, here)))
        da = fma(load(room.dt, here), rate, da)
        dh = zeros(room.dt) if cut[t] else mul(dh, load(room.decay, here))
    return dh, da


@nb.njit(**INNER)
def _leave(inputs, du, ddt, row, count, first, live, room):
    """Gradients of u and dt of a segment from those of their product and of the exponents."""
    width = inputs.u.shape[1]
    for i in range(0, count * LANES, LANES):
        store(room.d_dt, i, fma(load(room.d_write, i), load(room.u, i), load(room.d_dt, i)))
    if inputs.softplus:
        for i in range(count * LANES):
            room.d_dt[i] *= sigmoid(room.raw[i])
    for t in range(count):
        here, at = t * LANES, (row + t) * width + first
        store_part(ddt, at, live, load(room.d_dt, here))
        store_part(du, at, live, mul(load(room.d_write, here), load(room.dt, here)))


@nb.njit(**INNER)
def _backward_tile(inputs, b, index, grads, at, state, rates, room):
    """Gradients of one vector of channels; those of B and C are added to the sums that begin at `at`."""
    length, (states, width), groups = inputs.cut.shape[1], inputs.A.shape, inputs.B.shape[1]
    first, live, group = _tile(inputs, index)
    for n in range(states):
        store(state, n * LANES, load_part(grads.h_last, (b * states + n) * width + first, live))
        store(rates, n * LANES, zeros(rates))
    segments = (length + inputs.segment - 1) // inputs.segment
    for part in range(segments - 1, -1, -1):
        start = part * inputs.segment
        row, count = b * length + start, min(inputs.segment, length - start)
        cut = inputs.cut[b, start:]
        _enter(inputs, row, count, first, live, room)
        for t in range(count):
            store(room.dy, t * LANES, load_part(grads.y, (row + t) * width + first, live))
        clear(room.d_dt)
        clear(room.d_write)
        for n in range(states):
            h = load_part(grads.saved, ((b * segments + part) * states + n) * width + first, live)
            a = load_part(inputs.A, n * width + first, live)
            _recall(inputs, row, count, group, n, a, h, cut, room)
            dh, da = _retreat(
                inputs, row, count, group, n, mul(a, LN2), load(state, n * LANES), cut, grads.B, grads.C,
                at + start * groups * states, room,
            )  # fmt: skip
            store(state, n * LANES, dh)
            store(rates, n * LANES, add(da, load(rates, n * LANES)))
        _leave(inputs, grads.u, grads.dt, row, count, first, live, room)
    for n in range(states):
        store_part(grads.A, (b * states + n) * width + first, live, load(rates, n * LANES))
        store_part(grads.h0, (b * states + n) * width + first, live, load(state, n * LANES))


@kernel(**OPTIONS)
def _backward(inputs, grads, lo, hi):
    """Gradients of the work items lo..hi."""
    states = inputs.A.shape[0]
    state, rates = scratch(states * LANES, inputs.u), scratch(states * LANES, inputs.u)
    room, size = _new_room(inputs.u, inputs.segment), inputs.cut.shape[1] * inputs.B.shape[1] * states
    for item in range(lo, hi):
        first, end = _share(inputs, item % inputs.shares)
        for index in range(first, end):
            _backward_tile(inputs, item // inputs.shares, index, grads, item * size, state, rates, room)


def _inputs(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, cut: Tensor | None, segment: int, softplus: bool
) -> Inputs:
    """The arguments as the kernels read them; nothing that is contiguous already is copied."""
    batch, length, channels = u.shape
    groups, states = B.shape[2:]
    cut = torch.zeros(batch, length, dtype=torch.bool) if cut is None else cut
    rows = (u.reshape(-1, channels), dt.reshape(-1, channels), A.T / LN2)
    rows += (B.reshape(-1, groups, states), C.reshape(-1, groups, states), cut)
    tiles = -(-channels // groups // LANES) * groups
    shares = max(1, min(tiles, ITEMS // max(1, batch)))
    return Inputs(*(x.contiguous().numpy(force=True) for x in rows), segment, shares, softplus)


def _by_state(h: Tensor | None, like: Tensor, states: int) -> Tensor:
    """A state (B, D, N), zero if None, with channels last."""
    return blank((len(like), states, like.shape[2]), like.dtype) if h is None else h.mT.contiguous()


def forward(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    h0: Tensor | None,
    cut: Tensor | None,
    segment: int,
    keep: bool,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs (B, L, D), the last state (B, D, N) and, to keep, the one before each segment (B, S, N, D)."""
    inputs = _inputs(u, dt, A, B, C, cut, segment, softplus)
    batch, length, channels = u.shape
    states = A.shape[1]
    y, h_last = empty_like(u), u.new_empty(batch, states, channels)
    saved = empty((batch, -(-length // segment), states, channels) if keep else (0,), u.dtype)
    arrays = [x.numpy(force=True).reshape(-1) for x in (_by_state(h0, u, states), y, h_last, saved)]
    over(batch * inputs.shares, u.numel() * states, lambda lo, hi: _forward(inputs, *arrays, lo, hi))
    return y, h_last.mT.contiguous(), saved


def backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    cut: Tensor | None,
    saved: Tensor,
    segment: int,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, dt, A, B, C and h0."""
    inputs = _inputs(u, dt, A, B, C, cut, segment, softplus)
    batch, states = len(u), A.shape[1]
    grad = torch.zeros_like(u) if grad is None else grad
    du, ddt = empty_like(u), empty_like(u)
    dA, dh0 = (u.new_empty(batch, states, u.shape[2]) for _ in range(2))
    dB, dC = (blank((batch, inputs.shares, *B.shape[1:]), u.dtype) for _ in range(2))
    tensors = (grad, _by_state(grad_last, u, states), saved, du, ddt, dA, dB, dC, dh0)
    grads = Gradients(*(x.contiguous().numpy(force=True).reshape(-1) for x in tensors))
    over(batch * inputs.shares, u.numel() * states, lambda lo, hi: _backward(inputs, grads, lo, hi))
    return du, ddt, dA.sum(0).T.contiguous(), dB.sum(1), dC.sum(1), dh0.mT.contiguous()


def warmup() -> None:
    """Compile the kernels for both floating types, on a single step."""
    for dtype in (torch.float32, torch.float64):
        x, A = torch.zeros(1, 1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype)
        B = x.unsqueeze(-1)
        _, _, saved = forward(x, x, A, B, B, None, None, 1, True, True)
        backward(x, None, x, x, A, B, B, None, saved, 1, True)
