"""`warmup()` of an operator's CPU module leaves no kernel for the first call to compile, in any process."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.core import first_call
from statewise.core import ops

COMPILED = sorted(name for name, op in ops.OPERATORS.items() if "cpu" in op.backends)


@pytest.mark.kernels
@pytest.mark.parametrize("name", COMPILED)
def test_every_kernel_is_compiled_for_both_floating_types(name):
    from numba.core.registry import CPUDispatcher

    module = importlib.import_module(f"{ops.OPERATORS[name].package}.cpu")
    module.warmup()
    compiled = [value for value in vars(module).values() if isinstance(value, CPUDispatcher)]
    own = [value for value in compiled if value.py_func.__module__ == module.__name__]
    # what is imported, or has no wrapper for Python, is compiled into the kernels that call it
    kernels = [value for value in own if not value.targetoptions.get("no_cpython_wrapper")]
    assert kernels
    for kernel in kernels:
        arguments = [kind for signature in kernel.signatures for kind in signature]
        kinds = [kind for argument in arguments for kind in getattr(argument, "types", (argument,))]
        assert {"float32", "float64"} <= {str(kind.dtype) for kind in kinds if hasattr(kind, "dtype")}, kernel


def test_the_first_call_of_every_compiled_operator_is_measured():
    assert sorted(first_call.CALLS) == COMPILED


@pytest.mark.kernels
@pytest.mark.parametrize("name", ["linear_scan", "gated_delta_rule", "rnn_scan"])
def test_the_first_call_in_a_new_process_is_short(name):
    """Beyond import statements, those that numba puts off until then included: see the benchmark."""
    first_call.in_new_process(name)  # a call may take a signature that no other test has compiled
    row = first_call.in_new_process(name)
    # importing torch takes 1.5 s on an idle machine; where it takes several times as long, so does all else
    assert row["first"] < 0.3 * max(1.0, row["imports"] / 2.0), row
