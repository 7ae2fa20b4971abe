"""How the threads of torch wait for work: a short while awake, then asleep."""

from __future__ import annotations

from collections.abc import MutableMapping

__all__ = ["let_threads_sleep"]

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
TURNS = "2000"
"""Turns of the waiting loop, about a tenth of a millisecond; 300,000 where nothing is said."""


def let_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Have the second thread of torch go to sleep soon after its work, unless the user decides.

    By default the OpenMP library that torch brings keeps it spinning for milliseconds, on the core that the
    kernels here, the workers that load data, or other programs could use. The library reads the variable when
    torch is imported: this is to be called before.
    """
    if not any(name in environment for name in VARIABLES):
        environment[VARIABLES[0]] = TURNS
