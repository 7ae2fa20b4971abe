"""One thread and fixed seeds for every test; real data only where STATEWISE_DATA says."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import settings

settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test named after a set: its order, and so the name, differs between workers of `-n auto`."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if any(isinstance(one, set | frozenset) and str(one) in item.nodeid for one in parameters.values()):
            raise pytest.UsageError(f"{item.nodeid}: give the set among its parameters an id")


@pytest.fixture(autouse=True)
def _deterministic():
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, or a skip that says how to have one."""
    folder = os.environ.get("STATEWISE_DATA")
    if not folder:
        pytest.skip("STATEWISE_DATA is unset: real data sets are not part of the project")
    return Path(folder)
