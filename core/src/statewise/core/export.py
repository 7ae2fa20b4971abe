"""Layers as files that other runtimes run: one step for a stream, or the whole sequence.

    export_step        x (B, D), state_<part>, ...     ->  y (B, D'), next_<part>, ...
    export_sequence    x (B, L, D), state_<part>, ...  ->  y (B, L, D'), next_<part>, ...    for any L

The state is a flat list of real tensors, named after the fields of the layer's state: a complex part is a
real one with pairs on a last axis of size 2, counts and marks stay integers and bools. What the file takes,
gives and starts from is written into it as JSON (`Exported.as_json`), under "statewise" in the metadata of an
ONNX file and as "statewise.json" beside the program of a .pt2 file.

Whatever depends on weights alone, such as a discretised transition, is computed when the file is written and
stored as a constant: a step of an S4D or S5 holds a few products and no exponential.

The sequence form repeats that same step with the `scan` operator of torch, a prototype there: one `Scan` node
in ONNX, whose size does not grow with L. It is meant for runtimes that have no loop of their own.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from statewise.core.errors import MissingExtraError, UnknownNameError, UserError
from statewise.core.folding import folded
from statewise.core.layers.contract import Layer

__all__ = ["Exported", "Format", "Port", "export_sequence", "export_step"]

Format: TypeAlias = Literal["onnx", "pt2"]
"""A file for ONNX runtimes, or one for `torch.export.load`."""

FORMATS = ("onnx", "pt2")
OPSET = 20
CHECKED_STEPS = 5
INNER_AXES = {"Y": "height", "X": "width", "V": "variates"}
"""The fields of a configuration that give the sizes of a layer's axes between L and D."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """One tensor of the state, as the file takes it and gives it."""

    input: str
    """Name of the input that takes it."""
    output: str
    """Name of the output that gives its next value."""
    shape: tuple[int, ...]
    """Its shape, batch first; complex parts end in an axis of size 2."""
    dtype: str
    """float32, int64, bool, ..."""
    initial: Any
    """Its value before the first step: one number for all elements, or else nested lists of `shape`."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how to feed it."""

    path: str
    """The file."""
    layer: str
    """The class of the layer."""
    x: tuple[int | str, ...]
    """The shape of the input `x`; "L" where any length goes."""
    dtype: str
    """The dtype of `x`."""
    state: tuple[Port, ...]
    """The tensors of the state, in the order of inputs and outputs, after `x` and `y`."""

    def as_json(self) -> str:
        """The description that is stored in the file: all of this but the path."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "path"})


def export_step(
    layer: Layer[Any], path: str | os.PathLike[str], batch_size: int = 1, format: Format = "onnx"
) -> Exported:
    """Write the `step` of a layer: x (B, D) and the state in, y (B, D') and the next state out.

    The program is compared with the layer itself over a few steps before the file is written.

    Args:
        layer: a layer that streams, or a `Block` or `Stack` of such layers; it is left as it is.
        path: the file to write or to replace; its directory must exist.
        batch_size: B, fixed in the file: how many streams run side by side.
        format: onnx, or pt2 for `torch.export.load`.

    Returns:
        The names, shapes and initial values of the inputs and outputs.

    Raises:
        UserError: the layer reads both ways, ONNX has no form for an operation of its step, or the file
            cannot be written.
        UnknownNameError: there is no such format.
        MissingExtraError: ONNX is asked for and its packages are not installed.
    """
    source = _Source(layer, batch_size, format)
    program = torch.export.export(source.folded, source.arguments, strict=False)
    _check_parity(program, source)
    return _write(program, source, source.arguments[0].shape, Path(path), format)


def export_sequence(
    layer: Layer[Any], path: str | os.PathLike[str], batch_size: int = 1, format: Format = "onnx"
) -> Exported:
    """Write a layer over whole sequences of any length: x (B, L, D) and the state in, y and the state out.

    A long sequence may be given in chunks, each with the state that the one before it gave. There is no
    `reset` and no `lengths`. Arguments, result and errors are those of `export_step`.
    """
    source = _Source(layer, batch_size, format)
    x_t, *state = source.arguments
    x = torch.zeros_like(x_t)[:, None].repeat(1, CHECKED_STEPS, *[1] * (x_t.ndim - 1))
    shapes = ({1: Dim("L", min=1)}, tuple({} for _ in state))
    module = _Sequence(source.folded)
    program = torch.export.export(module, (x, *state), dynamic_shapes=shapes, strict=False)
    _check_parity(program, source, whole=True)
    return _write(program, source, (batch_size, "L", *x_t.shape[1:]), Path(path), format)


class _Source:
    """A layer on its way out: its folded step, example arguments, and the ports of its state."""

    def __init__(self, layer: Layer[Any], batch_size: int, format: str) -> None:
        _check_arguments(layer, batch_size, format)
        layer = copy.deepcopy(layer).cpu().eval().requires_grad_(False)
        inner = [getattr(layer.config, INNER_AXES[axis]) for axis in layer.axes[2:-1]]
        dtype = next(layer.parameters(), torch.empty(0)).dtype
        x_t = torch.zeros(batch_size, *inner, layer.config.d_model, dtype=dtype)
        self.step = _Step(layer, layer.initial_state(batch_size))
        self.arguments = (x_t, *self.step.flat(self.step.like))
        self.ports = tuple(
            Port(
                input=f"state_{name}",
                output=f"next_{name}",
                shape=tuple(part.shape),
                dtype=_dtype_name(part),
                initial=_initial(part),
            )
            for name, part in zip(_names(self.step.like), self.arguments[1:], strict=True)
        )
        program = torch.export.export(self.step, self.arguments, strict=False)
        self.folded = folded(program)


class _Step(nn.Module):
    """`step` with its state as a flat list of real tensors."""

    def __init__(self, layer: Layer[Any], like: Any) -> None:
        super().__init__()
        self.layer, self.like = layer, like

    def forward(self, x_t: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        y_t, after = self.layer.step(x_t, _shaped(self.like, iter(state)))
        # where an output is also a state, each still needs a name of its own in the file
        return tuple(part.clone() for part in (y_t, *self.flat(after)))

    def flat(self, state: Any) -> list[Tensor]:
        return [torch.view_as_real(part) if part.is_complex() else part for part in _leaves(state)]


class _Sequence(nn.Module):
    """A step repeated over the second axis."""

    def __init__(self, step: fx.GraphModule) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        from torch._higher_order_ops.scan import scan

        def advance(before: list[Tensor], x_t: Tensor) -> tuple[list[Tensor], Tensor]:
            y_t, *after = self.step(x_t, *before)
            return after, y_t

        last, y = scan(advance, list(state), x.movedim(1, 0))
        return y.movedim(0, 1), *last


def _check_arguments(layer: Layer[Any], batch_size: int, format: str) -> None:
    name = type(layer).__name__
    if format not in FORMATS:
        raise UnknownNameError("export format", format, FORMATS)
    if batch_size < 1:
        raise UserError("'batch_size' does not fit", where=name, seen=str(batch_size), expected="at least 1")
    if not layer.streaming:
        raise UserError(
            "reads its sequence both ways: it has no step to export",
            where=name,
            fix="choose a layer that streams; `statewise layers` says which do",
        )
    if format == "onnx":
        try:
            import onnx  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            package = error.name or "onnxscript"
            raise MissingExtraError(package, "statewise-core[export]", "export to ONNX") from None


def _leaves(state: Any) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in _leaves(part)]


def _names(state: Any, *path: str) -> list[str]:
    """One name per leaf: the fields that lead to it, numbers where a state is a plain tuple."""
    if isinstance(state, Tensor):
        return ["_".join(path)]
    fields = getattr(state, "_fields", range(len(state)))
    return [
        name for field, part in zip(fields, state, strict=True) for name in _names(part, *path, str(field))
    ]


def _shaped(like: Any, parts: Iterator[Tensor]) -> Any:
    """A state of the structure of `like` from flat real tensors."""
    if isinstance(like, Tensor):
        part = next(parts)
        return torch.view_as_complex(part) if like.is_complex() else part
    inner = [_shaped(part, parts) for part in like]
    return type(like)(*inner) if hasattr(like, "_fields") else tuple(inner)


def _initial(part: Tensor) -> Any:
    if not part.numel():
        return 0
    first = part.flatten()[0]
    return first.item() if bool((part == first).all()) else part.tolist()


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


@torch.no_grad()
def _check_parity(program: ExportedProgram, source: _Source, *, whole: bool = False) -> None:
    """Compare a program with the layer over a few steps, before anything is written.

    Raises:
        RuntimeError: they differ, which is a defect of this module.
    """
    x_t, *state = source.arguments
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(CHECKED_STEPS, *x_t.shape, generator=generator).to(x_t.dtype)
    expected = _fold(source.step, x, state)
    actual = program.module()(x.movedim(0, 1), *state) if whole else _fold(program.module(), x, state)
    names = ["y", *(port.output for port in source.ports)]
    for name, one, other in zip(names, actual, expected, strict=True):
        if not _close(one, other):
            layer = type(source.step.layer).__name__
            raise RuntimeError(f"the exported program differs from {layer} in '{name}'")


def _fold(step: nn.Module, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    """All outputs (B, L, ...) for x (L, B, ...), then the last state."""
    outputs = []
    for x_t in x:
        y_t, *state = step(x_t, *state)
        outputs.append(y_t)
    return [torch.stack(outputs, 1), *state]


def _close(actual: Tensor, wanted: Tensor) -> bool:
    """Equal up to rounding, relative to the largest value; counts and marks are equal."""
    if actual.dtype != wanted.dtype or actual.shape != wanted.shape:
        return False
    if not actual.is_floating_point() or not actual.numel():
        return torch.equal(actual, wanted)
    tolerance = 100 * torch.finfo(actual.dtype).eps * max(1.0, float(wanted.abs().max()))
    return bool(((actual - wanted).abs() <= tolerance).all())


def _write(
    program: ExportedProgram, source: _Source, x: Sequence[int | str], path: Path, format: Format
) -> Exported:
    exported = Exported(
        path=str(path),
        layer=type(source.step.layer).__name__,
        x=tuple(x),
        dtype=_dtype_name(source.arguments[0]),
        state=source.ports,
    )
    _forget_sources(program)
    content = _pt2(program, exported) if format == "pt2" else _onnx(program, exported)
    new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        new.write_bytes(content)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise UserError(
            f"cannot be written ({error.strerror})",
            where=str(path),
            fix="make its directory, free space on the disk or choose another place",
        ) from None
    return exported


def _forget_sources(program: ExportedProgram) -> None:
    """Drop the notes on which line of which file made a node: they name directories of this machine."""
    for module in program.graph_module.modules():
        if isinstance(module, fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
                node.meta.pop("nn_module_stack", None)


def _pt2(program: ExportedProgram, exported: Exported) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"statewise.json": exported.as_json()})
    return buffer.getvalue()


def _onnx(program: ExportedProgram, exported: Exported) -> bytes:
    from onnxscript.ir.passes import common as passes

    try:
        with _quiet_exporter():
            converted = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=["x", *(port.input for port in exported.state)],
                output_names=["y", *(port.output for port in exported.state)],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            "ONNX has no form for an operation of this layer",
            where=exported.layer,
            seen=str(error.__cause__ or error).splitlines()[0],
            fix="export it with format='pt2'",
        ) from error
    converted = cast(torch.onnx.ONNXProgram, converted)
    if "L" in exported.x:
        for value in (converted.model.graph.inputs[0], converted.model.graph.outputs[0]):
            cast(Any, value.shape)[1] = "L"
    passes.RemoveUnusedNodesPass()(converted.model)
    for node in converted.model.graph.all_nodes():
        node.metadata_props.clear()
    converted.model.metadata_props["statewise"] = exported.as_json()
    return converted.model_proto.SerializeToString()


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's remarks on packages that no layer needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
