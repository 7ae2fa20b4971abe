from __future__ import annotations

import pytest
import torch

from statewise.core.errors import ConfigError
from statewise.core.train import resolve_device, seeded, threads
from statewise.core.train.device import derive_seed, to_device


def test_auto_is_always_there():
    assert torch.ones(1, device=resolve_device("auto")).item() == 1
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "cuda:99", ""])
def test_unknown_devices_are_said(name):
    with pytest.raises(ConfigError, match="this machine has no such device") as error:
        resolve_device(name)
    assert "auto or one of cpu" in error.value.expected


def test_seeded_gives_the_generator_back():
    with seeded(1):
        first = torch.rand(3)
    before = torch.get_rng_state()
    with seeded(1):
        assert torch.equal(torch.rand(3), first)
    with seeded(2):
        assert not torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_derived_seeds_differ_and_last():
    assert derive_seed(1, "step", 2) == 2211568082502170284
    seeds = {derive_seed(a, word, b) for a in range(20) for b in range(20) for word in ("step", "epoch")}
    assert len(seeds) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_threads_are_few_for_few_parameters_and_given_back():
    with threads(None, parameters=1000) as count:
        assert count == torch.get_num_threads() == 1
    with threads(3, parameters=10**9) as count:
        assert count == torch.get_num_threads() == 3
    with threads(None, parameters=10**9) as count:
        assert count == torch.get_num_threads() >= 1
    assert torch.get_num_threads() == 1


def test_processes_on_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with threads(None, parameters=10**9) as count:
        assert count == 2


def test_batches_of_every_shape_are_moved():
    from typing import NamedTuple

    class Pair(NamedTuple):
        x: torch.Tensor
        name: str

    batch = {"a": [torch.ones(1), (torch.ones(2), None)], "b": Pair(torch.ones(3), "n")}
    moved = to_device(batch, torch.device("meta"))
    assert moved["a"][0].device.type == moved["a"][1][0].device.type == moved["b"].x.device.type == "meta"
    assert (moved["a"][1][1], moved["b"].name, type(moved["b"])) == (None, "n", Pair)
