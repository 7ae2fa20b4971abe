"""Fixtures of the contract tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def portable() -> Iterator[None]:
    """Operators in plain torch, so that nothing waits for a compiler."""
    from statewise.core import ops

    with ops.use_backend("portable"):
        yield
