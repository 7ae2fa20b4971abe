"""Where numba is not installed everything runs in plain torch, and says so once.

The tests of the operators and the contract of the layers run again in a process that cannot import numba.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKED = "import sys; sys.modules['numba'] = sys.modules['llvmlite'] = None\n"
OPERATORS = [
    *("linear_scan", "depthwise_conv", "gated_linear_attention", "gated_delta_rule", "selective_scan"),
    *(
        "rnn_scan",
        "scan2d",
        "scan2d_matrix",
        "path_weights",
        "prefix_softmax",
        "long_conv",
        "s4_kernels",
        "newton_scan",
    ),
]
TESTS = ["tests/contracts/test_layers.py", *(f"tests/core/ops/test_{name}.py" for name in OPERATORS)]


def run_blocked(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process that runs `code` and can import neither numba nor llvmlite."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "STATEWISE_BACKEND"},
    )


def run_tests_blocked(expression: str) -> str:
    """What pytest says of the chosen tests, which all pass."""
    code = "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = run_blocked(code, "-q", "-p", "no:cacheprovider", *TESTS, "-k", expression)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def test_calls_fall_back_and_say_so_once():
    done = run_blocked(
        """
import torch
from statewise.core import ops
for name, op in ops.OPERATORS.items():
    choice = ops.explain(name)
    assert choice["backend"] == "portable", name
    assert ("numba does not import" in choice["reason"]) == ("cpu" in op.backends), name
x = torch.rand(2, 3, 4, requires_grad=True)
for _ in range(2):
    ops.linear_scan(x, x)[0].sum().backward()
assert torch.isfinite(x.grad).all()
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("linear_scan runs on the backend 'portable': numba does not import") == 1


@pytest.mark.kernels  # a step of its own: no kernel, but half a minute
def test_operators_equal_their_loops_and_layers_their_steps():
    said = run_tests_blocked("(fold_of_step and float32) or (portable and equal and loop)")
    assert "passed" in said
    assert "skipped" not in said


@pytest.mark.slow
def test_the_whole_contract_holds():
    run_tests_blocked("test_layers or portable")


def test_the_grid_layer_chooses_by_what_is_installed():
    done = run_blocked(
        """
from statewise.core.layers import build
from statewise.core.ops.dispatch import kernels_installed
assert not kernels_installed()
assert not build("plstm2d", d_model=8, heads=1)._compiled
"""
    )
    assert done.returncode == 0, done.stderr
