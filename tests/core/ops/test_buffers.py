"""Recycled memory: lent once at a time, given back when the last view is gone, bounded."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from statewise.core.ops import buffers, linear_scan


@pytest.fixture(autouse=True)
def _empty_store(monkeypatch):
    monkeypatch.setattr(buffers, "_waiting", {})


def large(count=buffers.LEAST, dtype=torch.float32):
    return torch.empty(count // dtype.itemsize, dtype=dtype)


def test_a_block_is_used_again_once_the_tensor_is_gone():
    like = large()
    first = buffers.empty_like(like)
    place = first.data_ptr()
    other = buffers.empty_like(like)
    assert other.data_ptr() != place
    del first
    assert buffers.empty_like(like).data_ptr() == place


def test_a_view_keeps_the_block():
    like = large()
    first = buffers.empty_like(like)
    view, place = first[3:5], first.data_ptr()
    view.fill_(7)
    del first
    buffers.empty_like(like).fill_(0)
    assert view.tolist() == [7, 7]
    del view
    assert buffers.empty_like(like).data_ptr() == place


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_shape_dtype_and_alignment(dtype):
    like = torch.empty(3, 2, buffers.LEAST // dtype.itemsize, dtype=dtype).mT
    tensor = buffers.empty_like(like)
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == (like.shape, dtype, True)
    assert tensor.data_ptr() % 64 == 0


def test_small_tensors_come_from_torch():
    buffers.empty_like(torch.empty(8))
    assert not buffers._waiting


def test_nearly_equal_sizes_share_a_block_and_others_do_not():
    tensor = buffers.empty_like(large(17 << 16))
    place = tensor.data_ptr()
    del tensor
    near = buffers.empty_like(large((17 << 16) - 4096))
    assert near.data_ptr() == place
    del near
    assert buffers.empty_like(large(buffers.LEAST)).data_ptr() != place


def waiting():
    return sum(size * len(blocks) for size, blocks in buffers._waiting.items())


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(buffers, "KEEP", 4 * buffers.LEAST)
    tensors = [buffers.empty_like(large()) for _ in range(11)]
    assert waiting() == 0
    for _ in range(11):
        tensors.pop()
        assert waiting() <= buffers.KEEP
    del tensors
    buffers.empty_like(large(5 * buffers.LEAST))
    assert waiting() <= buffers.KEEP


def test_threads_never_share_a_block():
    like = large()

    def work(number):
        for _ in range(50):
            tensor = buffers.empty_like(like)
            tensor.fill_(number)
            if not bool((tensor == number).all()):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_results_of_an_operator_survive_the_next_call():
    a, b = torch.full((1, 512, 1024), 0.5), torch.ones(1, 512, 1024)
    first = linear_scan(a, b)[0]
    copy = first.clone()
    for _ in range(3):
        linear_scan(a, 3 * b)
        gc.collect()
    assert torch.equal(first, copy)
