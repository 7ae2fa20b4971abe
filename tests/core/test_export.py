from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from statewise.core import ops
from statewise.core.errors import MissingExtraError, UnknownNameError, UserError
from statewise.core.export import Exported, export_sequence, export_step
from statewise.core.layers import LAYERS, build
from statewise.core.layers.contract import Layer
from tests.contracts.layer_cases import CASES, ROOT, fold, inputs, leaves, make

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

ROWS, STEPS = 2, 10
NOT_IN_ONNX: dict[str, str] = {}
"""Layers whose step ONNX cannot express, with the operation that is missing. None so far."""

STREAMING = [name for name in LAYERS if LAYERS[name].facts["streaming"]]
SETTINGS = [case for case in CASES if case not in LAYERS]
WHOLE = [name for name in ("lru", "s5", "gru", "mamba", "gla") if name in LAYERS]
OFTEN = {"attention", "chimera2d", "convs5", "gru", "lssl", "s5", "slstm"}
"""Each has something of its own: integers, two axes, complex frames, a product, a solution, complex numbers,
bools. An export takes seconds, so that the other layers are left to `-m slow`."""


def each(often: Collection[str]) -> pytest.MarkDecorator:
    """All streaming layers, marked slow where they are not in `often`."""
    marks = [() if name in often else pytest.mark.slow for name in STREAMING]
    rows = [pytest.param(name, marks=mark) for name, mark in zip(STREAMING, marks, strict=True)]
    return pytest.mark.parametrize("case", rows)


@pytest.fixture(autouse=True, scope="module")
def _operators_read_once() -> Iterator[None]:
    """The exporter reads its table of operators anew for every file, which is a third of the time."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


def session(exported: Exported) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 2
    return ort.InferenceSession(exported.path, options, providers=["CPUExecutionProvider"])


def start(exported: Exported) -> dict[str, np.ndarray]:
    """The state before the first step, from the description alone."""
    return {
        port.input: np.broadcast_to(np.array(port.initial, port.dtype), port.shape).copy()
        for port in exported.state
    }


def stream(exported: Exported, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """A fold of the exported step over x (B, L, ...) in onnxruntime."""
    running, state, outputs = session(exported), start(exported), []
    for x_t in x.unbind(1):
        y_t, *after = running.run(None, {"x": x_t.numpy(), **state})
        state = dict(zip(state, after, strict=True))
        outputs.append(torch.from_numpy(y_t))
    return torch.stack(outputs, 1), [torch.from_numpy(part) for part in state.values()]


def flat(state: Any) -> list[Tensor]:
    return [torch.view_as_real(part) if part.is_complex() else part for part in leaves(state)]


def same(actual: list[Tensor], expected: list[Tensor], tolerance: float = 1e-5) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def check_step(case: str, path: Path, dtype: torch.dtype = torch.float32) -> None:
    layer = make(case, dtype)
    x = inputs(layer, dtype, ROWS, STEPS)
    with torch.no_grad():
        y, state = fold(layer, x, None)
    if case in NOT_IN_ONNX:
        with pytest.raises(UserError, match="ONNX has no form"):
            export_step(layer, path, ROWS)
        return
    actual, after = stream(export_step(layer, path, ROWS), x)
    same([actual, *after], [y, *flat(state)], 1e-5 if dtype == torch.float32 else 1e-12)


def check_pt2(case: str, path: Path) -> None:
    layer = make(case)
    exported = export_step(layer, path, ROWS, format="pt2")
    step, x = torch.export.load(path).module(), inputs(layer, rows=ROWS, length=STEPS)
    state, outputs = [torch.from_numpy(part) for part in start(exported).values()], []
    with torch.no_grad():
        for x_t in x.unbind(1):
            y_t, *state = step(x_t, *state)
            outputs.append(y_t)
        y, after = fold(layer, x, None)
    same([torch.stack(outputs, 1), *state], [y, *flat(after)])


def check_sequence(case: str, path: Path) -> None:
    """Two lengths, the second as a chunk that continues the first."""
    layer = make(case)
    exported = export_sequence(layer, path, ROWS)
    running, given, state = session(exported), start(exported), None
    with ops.use_backend("portable"), torch.no_grad():
        for length in (64, 100):
            x = inputs(layer, rows=ROWS, length=length)
            y, state = layer(x, state)
            results = running.run(None, {"x": x.numpy(), **given})
            same([torch.from_numpy(result) for result in results], [y, *flat(state)], 2e-5)
            given = dict(zip(given, results[1:], strict=True))
    assert [node.op_type for node in onnx.load(path).graph.node].count("Scan") == 1


@each(OFTEN)
def test_every_step_runs_in_onnxruntime(case: str, tmp_path: Path) -> None:
    check_step(case, tmp_path / "step.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("case", SETTINGS)
def test_other_settings_and_stacks_run_in_onnxruntime(case: str, tmp_path: Path) -> None:
    if make(case).streaming:
        check_step(case, tmp_path / "step.onnx")
    else:
        with pytest.raises(UserError, match="reads its sequence both ways"):
            export_step(make(case), tmp_path / "step.onnx")


def test_a_stack_runs_in_onnxruntime(tmp_path: Path) -> None:
    check_step("blocks:Stack", tmp_path / "step.onnx")


def test_a_float64_layer_stays_one(tmp_path: Path) -> None:
    check_step("s5", tmp_path / "step.onnx", torch.float64)


@each(("s5", "slstm"))
def test_every_step_is_saved_as_a_program(case: str, tmp_path: Path) -> None:
    check_pt2(case, tmp_path / "step.pt2")


@each(WHOLE)
def test_sequences_of_any_length_run_in_onnxruntime(case: str, tmp_path: Path) -> None:
    check_sequence(case, tmp_path / "sequence.onnx")


def test_a_sequence_program_takes_any_length(tmp_path: Path) -> None:
    layer, path = make("lru"), tmp_path / "sequence.pt2"
    exported = export_sequence(layer, path, ROWS, format="pt2")
    assert exported.x == (ROWS, "L", 4)
    run, state = torch.export.load(path).module(), flat(layer.initial_state(ROWS))
    with torch.no_grad():
        for length in (1, 2, 33):
            x = inputs(layer, rows=ROWS, length=length)
            y, after = fold(layer, x, None)
            same(list(run(x, *state)), [y, *flat(after)])


def test_the_file_says_how_to_feed_it(tmp_path: Path) -> None:
    exported = export_step(make("slstm"), tmp_path / "step.onnx", ROWS)
    assert [(port.input, port.output, port.shape, port.dtype, port.initial) for port in exported.state] == [
        ("state_h", "next_h", (2, 4), "float32", 0),
        ("state_ratio", "next_ratio", (2, 4), "float32", 0),
        ("state_log_n", "next_log_n", (2, 4), "float32", 0),
        ("state_written", "next_written", (2, 4), "bool", False),
    ]
    running = session(exported)
    assert [port.name for port in running.get_inputs()] == ["x", *(port.input for port in exported.state)]
    assert [port.name for port in running.get_outputs()] == ["y", *(port.output for port in exported.state)]
    stored = running.get_modelmeta().custom_metadata_map["statewise"]
    assert stored == exported.as_json()
    assert json.loads(stored)["x"] == [2, 4]


def test_complex_states_are_pairs_and_a_program_carries_the_description(tmp_path: Path) -> None:
    exported = export_step(make("lru"), tmp_path / "step.pt2", 3, format="pt2")
    assert [(port.shape, port.dtype) for port in exported.state] == [((3, 3, 2), "float32")]
    stored = {"statewise.json": ""}
    torch.export.load(exported.path, extra_files=stored)
    assert stored["statewise.json"] == exported.as_json()


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_files_name_no_directory_of_the_machine_that_wrote_them(format: Any, tmp_path: Path) -> None:
    exported = export_step(make("gru"), tmp_path / "step", format=format)
    assert str(ROOT).encode() not in Path(exported.path).read_bytes()


def test_the_layer_is_left_as_it_was(tmp_path: Path) -> None:
    layer = make("gru").train()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    export_step(layer, tmp_path / "step.pt2", format="pt2")
    assert layer.training
    assert all(parameter.requires_grad for parameter in layer.parameters())
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


class Counted(NamedTuple):
    n: Tensor
    weights: Tensor


class Bessel(Layer[Counted]):
    """A layer that starts from a state of its own and calls what ONNX does not have."""

    def step(self, x_t: Tensor, state: Counted) -> tuple[Tensor, Counted]:
        return torch.special.bessel_j0(x_t), Counted(state.n + 1, state.weights)

    def initial_state(self, batch_size: int, **_: Any) -> Counted:
        return Counted(torch.full((batch_size,), 5), torch.arange(2.0).repeat(batch_size, 1))

    def sequence(self, x: Tensor, state: Counted, reset: Any, lengths: Any) -> tuple[Tensor, Counted]:
        return torch.special.bessel_j0(x), state


def test_what_onnx_lacks_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    layer = Bessel(make("gru").config)
    with pytest.raises(UserError, match="ONNX has no form") as caught:
        export_step(layer, tmp_path / "step.onnx")
    assert "bessel_j0" in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert [port.initial for port in export_step(layer, tmp_path / "a.pt2", format="pt2").state] == [
        5,
        [[0.0, 1.0]],
    ]


def test_a_program_that_differs_from_the_layer_is_not_written(tmp_path: Path) -> None:
    class Drifting(Bessel):
        calls = 0

        def step(self, x_t: Tensor, state: Counted) -> tuple[Tensor, Counted]:
            type(self).calls += 1
            return x_t + self.calls, state

    with pytest.raises(RuntimeError, match="differs from Drifting in 'y'"):
        export_step(Drifting(make("gru").config), tmp_path / "step.pt2", format="pt2")
    assert not list(tmp_path.iterdir())


def test_layers_that_read_both_ways_are_refused(tmp_path: Path) -> None:
    for export in (export_step, export_sequence):
        with pytest.raises(UserError, match="no step to export"):
            export(build("s5-bidirectional", d_model=4), tmp_path / "step.onnx")


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    layer = make("gru")
    with pytest.raises(UnknownNameError, match="did you mean 'onnx'"):
        export_step(layer, tmp_path / "step", format="onx")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="batch_size"):
        export_step(layer, tmp_path / "step", batch_size=0)
    with pytest.raises(UserError, match="cannot be written"):
        export_step(layer, tmp_path / "absent" / "step.pt2", format="pt2")


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"statewise-core\[export\]"):
        export_step(make("gru"), tmp_path / "step.onnx")
    assert not os.listdir(tmp_path)
