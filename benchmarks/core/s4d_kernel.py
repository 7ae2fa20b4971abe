"""`s4d_kernel` against the direct form, and S4D in chunks against its FFT convolution, on one thread."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.core.race import gradients_of, race, ratios
from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.layers import build
from statewise.core.ops import long_conv, s4d_kernel

FEATURES, STATES, LENGTH, BATCH = 512, 32, 1024, 8
ROUNDS = 10
COLUMNS = (
    Column(key="rival", label="rival"),
    Column(key="median_ms", label="ms", format=".0f"),
    Column(key="ratio", label="times ours", format=".2f"),
    Column(key="ratio_of_least", label="of the least times", format=".2f"),
    Column(key="error", label="relative error", format=".1e"),
)


def main() -> None:
    kernels, layers = measure_kernels(), measure_layers()
    direct = next(row for row in kernels if row["rival"] == "direct")
    fft = next(row for row in layers if row["rival"] == "kernel and FFT")
    publish(
        Result(
            benchmark="core/s4d_kernel",
            title="S4D: its kernel and its layer",
            summary=f"The split form of the kernel takes 1/{direct['ratio']:.0f} of the time of the direct "
            "one and is more exact. The layer runs in chunks, takes resets and returns its state; the "
            "convolution with the kernel through the FFT, which does neither, takes "
            f"{fft['ratio']:.2f} times as long.",
            versions=versions("statewise-core", "torch", "numba"),
            protocol={
                "shape": f"{FEATURES} features, {STATES} complex states, length {LENGTH}, float32, zoh; "
                f"the layer on a batch of {BATCH}",
                "parameters": "S4D-Inv at its start, steps log-uniform in 0.001 to 0.1",
                "direct": "2 Re sum_n w_n exp(l dt A_n) over a (D, N, L) tensor, with autograd",
                "error": "relative RMSE of the kernel or the output; against float64",
                "clock": f"CPU time of one thread, forward and backward, in turns, {ROUNDS} rounds; medians "
                "of the rounds' ratios",
            },
            rows=(*kernels, *layers),
            tables=(
                Table(title="Kernel, forward and backward", columns=COLUMNS, rows=tuple(kernels)),
                Table(title="Layer, forward and backward", columns=COLUMNS, rows=tuple(layers)),
            ),
        )
    )


def direct(dt: Tensor, A: Tensor, C: Tensor) -> Tensor:
    """The kernel as it is usually written."""
    z = dt[:, None] * A
    w = C * (torch.exp(z) - 1) / A
    powers = torch.exp(z[..., None] * torch.arange(LENGTH))
    return 2 * torch.einsum("dn,dnl->dl", w, powers).real


def measure_kernels() -> list[dict[str, Any]]:
    torch.manual_seed(0)
    layer = build("s4d", d_model=FEATURES, d_state=2 * STATES, init="inv")
    leaves = [tensor.detach().requires_grad_() for tensor in layer.continuous(torch.float32)]
    dt, A, C = leaves
    exact = s4d_kernel(dt.double(), A.to(torch.complex128), C.to(torch.complex128), LENGTH)
    rivals = {"split": lambda: s4d_kernel(dt, A, C, LENGTH), "direct": lambda: direct(dt, A, C)}
    return rows_of("split", rivals, leaves, exact)


def measure_layers() -> list[dict[str, Any]]:
    torch.manual_seed(0)
    layer = build("s4d", d_model=FEATURES, d_state=2 * STATES, init="inv")
    x = torch.randn(BATCH, LENGTH, FEATURES, requires_grad=True)
    with torch.no_grad():
        exact = build("s4d", d_model=FEATURES, d_state=2 * STATES, init="inv").double()
        exact.load_state_dict(layer.state_dict())
        wanted = exact(x.double())[0]
    rivals = {
        "chunks": lambda: layer(x)[0],
        "kernel and FFT": lambda: long_conv(x, layer.kernel(LENGTH)) + layer.D * x,
    }
    return rows_of("chunks", rivals, [x, *layer.parameters()], wanted)


def rows_of(ours: str, rivals: dict[str, Any], leaves: list[Tensor], exact: Tensor) -> list[dict[str, Any]]:
    errors = {name: ((run().detach() - exact).norm() / exact.norm()).item() for name, run in rivals.items()}
    seconds = race({name: gradients_of(run, leaves) for name, run in rivals.items()}, rounds=ROUNDS)
    return [
        {"rival": name, "error": errors[name], **figures} for name, figures in ratios(seconds, ours).items()
    ]


if __name__ == "__main__":
    main()
