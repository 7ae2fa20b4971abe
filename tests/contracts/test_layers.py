"""The contract of every layer (`statewise.core.layers.contract`), proved for each row of the registry.

A new layer needs a row in `statewise.core.layers`, a row of tiny settings in `layers.toml` beside this file
and a page under `docs/layers`; nothing here changes. What is compared runs on the portable backend;
`test_backends_agree` compares the backend that users get by default with the reference.
"""

from __future__ import annotations

import dataclasses
import importlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from statewise.core import blocks, ops
from statewise.core.config import config_class, field_docs, from_dict
from statewise.core.errors import UserError
from statewise.core.layers import LAYERS, build
from statewise.core.layers.contract import Layer

ROOT = Path(__file__).parents[2]
TABLE = tomllib.loads(Path(__file__).with_name("layers.toml").read_text(encoding="utf-8"))
NAMES = [name for name, entry in LAYERS.entries().items() if entry.origin == "statewise"]
CASES = [*TABLE["layers"], *(f"blocks:{name}" for name in TABLE["blocks"])]
DTYPES = [torch.float32, torch.float64]
SECTIONS = ("Equation", "Shapes", "Initialisation", "What differs from the paper")
B, L, BEFORE = 3, 7, 4
"""Rows, steps of the sequences compared, and steps run before them to have a state to carry."""


def make(case: str, dtype: torch.dtype = torch.float32) -> Layer[Any]:
    """The layer of a case, with noise on every parameter: one that starts at zero could hide a fault."""
    torch.manual_seed(0)
    kind, _, name = case.rpartition(":")
    if kind:
        cls = getattr(blocks, name.partition("/")[0])
        layer = cls(from_dict(config_class(cls), TABLE["blocks"][name]))
    else:
        layer = build(name.partition("/")[0], **TABLE["layers"][name])
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return layer.to(dtype).eval()


def inputs(layer: Layer[Any], dtype: torch.dtype = torch.float32, rows: int = B, length: int = L) -> Tensor:
    """x of the layer's own axes; those between L and D have the sizes of its configuration, or 3."""
    sizes = {"B": rows, "L": length, "D": layer.config.d_model}
    return torch.randn([sizes.get(axis, 3) for axis in layer.axes], dtype=dtype)


def carried(layer: Layer[Any], dtype: torch.dtype = torch.float32, rows: int = B) -> Any:
    """A state as a stream carries it; None for a layer that carries none."""
    if not layer.streaming:
        return None
    with torch.no_grad():
        return layer(inputs(layer, dtype, rows, BEFORE))[1]


def leaves(state: Any) -> list[Tensor]:
    """The tensors of a state, in order."""
    if isinstance(state, Tensor):
        return [state]
    return [leaf for part in state or () for leaf in leaves(part)]


def rebuild(state: Any, tensors: list[Tensor]) -> Any:
    """A state of the same structure from other tensors."""
    queue = iter(tensors)
    return mapped(state, lambda _: next(queue))


def mapped(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A state of the same structure with every tensor changed."""
    if state is None or isinstance(state, Tensor):
        return state if state is None else change(state)
    parts = [mapped(part, change) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def chosen(mask: Tensor, state: Any, other: Any) -> Any:
    """Rows of `state` where the mask is true, else rows of `other`."""
    picked = [
        torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)
        for a, b in zip(leaves(state), leaves(other), strict=True)
    ]
    return rebuild(state, picked)


def fold(layer: Layer[Any], x: Tensor, state: Any, reset: Tensor | None = None) -> tuple[Tensor, Any]:
    """The definition: one step after the other, the whole state replaced where a sequence begins."""
    outputs = []
    fresh = layer.initial_state(x.shape[0], device=x.device, dtype=x.dtype)
    state = fresh if state is None else state
    for t in range(x.shape[1]):
        if reset is not None:
            state = chosen(reset[:, t], fresh, state)
        y, state = layer.step(x[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def close(actual: Any, expected: Any, dtype: torch.dtype, loose: float = 1.0) -> None:
    """Equal up to rounding, relative to the largest value of each tensor."""
    tolerance = loose * (1e-5 if dtype == torch.float32 else 1e-11)
    pairs = list(zip(leaves(actual), leaves(expected), strict=True))
    for a, b in pairs:
        scale = max(1.0, float(b.detach().abs().max())) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale, check_dtype=True)


def random_reset(rows: int = B, length: int = L) -> Tensor:
    """Resets within rows, on the first step of one and on none of another."""
    reset = torch.zeros(rows, length, dtype=torch.bool)
    reset[0, [0, 3]] = True
    reset[1, [2, length - 1]] = True
    return reset


def gradients(outputs: Any, wrt: list[Tensor]) -> list[Tensor]:
    """Gradients of a fixed random projection of all outputs."""
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros((), dtype=torch.float64)
    for out in leaves(outputs):
        if out.requires_grad:
            real = torch.view_as_real(out) if out.is_complex() else out
            total = total + (real * torch.randn(real.shape, generator=generator).to(real.dtype)).sum()
    return list(torch.autograd.grad(total, wrt, allow_unused=True, materialize_grads=True))


def differentiable(state: Any) -> Any:
    """The state as leaves that take gradients."""
    return mapped(state, lambda leaf: leaf.detach().clone().requires_grad_(not _whole(leaf)))


def _whole(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


@pytest.fixture(autouse=True)
def _portable():
    with ops.use_backend("portable"):
        yield


def each(*, streaming: bool | None = None, sequential: bool = True) -> pytest.MarkDecorator:
    """All cases, or those that stream, or those that do not; by default only those with a time axis."""
    picked = []
    for case in CASES:
        layer = make(case)
        if streaming in (None, layer.streaming) and (not sequential or "L" in layer.axes):
            picked.append(case)
    return pytest.mark.parametrize("case", picked)


dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


# ---- the registry row


@pytest.mark.parametrize("name", NAMES)
def test_every_step_of_adding_a_layer_was_taken(name: str) -> None:
    entry, file = LAYERS[name], name.replace("-", "_")
    assert name in TABLE["layers"], (
        f"add tiny settings to tests/contracts/layers.toml: {name} = {{ d_model = 4 }}"
    )
    assert entry.summary, f"the row of '{name}' in LAYERS says no summary"
    assert entry.paper, f"the row of '{name}' in LAYERS names no paper"
    assert entry.year, f"the row of '{name}' in LAYERS names no year"
    assert set(entry.facts) >= {"ops", "streaming"}, (
        f"the row of '{name}' needs facts={{'ops': (...), 'streaming': ...}}"
    )
    for op in entry.facts["ops"]:
        assert op in ops.__all__, (
            f"the row of '{name}' names '{op}', which statewise.core.ops does not export"
        )
    page = ROOT / "docs" / "layers" / f"{file}.md"
    assert page.is_file(), f"write docs/layers/{file}.md with the sections {', '.join(SECTIONS)}"
    missing = [section for section in SECTIONS if f"## {section}" not in page.read_text(encoding="utf-8")]
    assert not missing, f"docs/layers/{file}.md lacks the sections {missing}"


@pytest.mark.parametrize("name", NAMES)
def test_class_and_configuration_have_the_agreed_form(name: str) -> None:
    layer = LAYERS.load(name)
    assert issubclass(layer, Layer)
    assert layer.streaming == LAYERS[name].facts["streaming"]
    if layer.streaming:
        assert layer.step is not Layer.step, f"{layer.__name__} streams, so it needs a step"
    assert importlib.import_module(layer.__module__).__doc__, (
        f"the module of '{name}' needs a docstring with its equation"
    )
    config = config_class(layer)
    fields = [field.name for field in dataclasses.fields(config)]
    assert config.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(config))
    assert fields[0] == "d_model"
    undocumented = set(fields) - set(field_docs(config))
    assert not undocumented, f"document each field of {config.__name__} under it: {undocumented} are bare"


def test_every_row_of_settings_belongs_to_a_layer() -> None:
    strangers = {case.partition("/")[0] for case in TABLE["layers"]} - set(LAYERS)
    assert not strangers, f"layers.toml has settings for {strangers}, which the registry does not know"


def test_every_layer_file_is_registered() -> None:
    known = {entry.target.partition(":")[0] for entry in LAYERS.entries().values()}
    folder = ROOT / "core" / "src" / "statewise" / "core" / "layers"
    written = {
        f"statewise.core.layers.{file.stem}"
        for file in folder.glob("*.py")
        if "(Layer[" in file.read_text("utf-8")
    }
    assert not written - known, f"add rows to LAYERS in layers/__init__.py for {written - known}"


@each(sequential=False)
def test_declared_parameters_exist(case: str) -> None:
    layer = make(case)
    own = {name for name, _ in layer.named_parameters()}
    assert layer.slow <= own, f"slow names no parameter: {layer.slow - own}"
    assert layer.no_decay <= own, f"no_decay names no parameter: {layer.no_decay - own}"


# ---- sequences, chunks and steps


@each(streaming=True)
@dtypes
def test_forward_is_a_fold_of_step(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    x = inputs(layer, dtype)
    for state in (None, carried(layer, dtype)):
        kept = mapped(state, torch.clone)
        close(layer(x, state), fold(layer, x, state), dtype)
        for before, after in zip(leaves(kept), leaves(state), strict=True):
            assert torch.equal(before, after), "a state that was handed in was written over"


@each(streaming=True)
@dtypes
def test_gradients_are_those_of_the_fold(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    x, state, reset = (
        inputs(layer, dtype).requires_grad_(),
        differentiable(carried(layer, dtype)),
        random_reset(),
    )
    wrt = [x, *layer.parameters(), *(leaf for leaf in leaves(state) if leaf.requires_grad)]
    whole = gradients(layer(x, state, reset), wrt)
    steps = gradients(fold(layer, x, state, reset), wrt)
    close(tuple(whole), tuple(steps), dtype, loose=10)


@each(streaming=True)
@dtypes
def test_final_state_is_differentiable(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    x = inputs(layer, dtype).requires_grad_()
    _, state = layer(x)
    floating = [leaf for leaf in leaves(state) if not _whole(leaf)]
    assert floating
    assert all(leaf.requires_grad for leaf in floating)
    (grad,) = gradients(tuple(floating), [x])
    assert bool(grad.isfinite().all())
    assert float(grad.abs().sum()) > 0


@each(streaming=True)
@dtypes
@pytest.mark.parametrize("cuts", [(1,), (3,), (6,), (2, 3, 5)], ids=str)
def test_chunks_change_nothing(case: str, dtype: torch.dtype, cuts: tuple[int, ...]) -> None:
    layer = make(case, dtype)
    x, state, reset = inputs(layer, dtype), carried(layer, dtype), random_reset()
    for marks in (None, reset):
        outputs, now = [], state
        for start, end in zip((0, *cuts), (*cuts, L), strict=True):
            y, now = layer(x[:, start:end], now, None if marks is None else marks[:, start:end])
            outputs.append(y)
        close((torch.cat(outputs, 1), now), layer(x, state, marks), dtype)


# ---- beginnings and ends inside a batch


@each(streaming=True)
@dtypes
@pytest.mark.parametrize("density", [0.3, 1.0], ids=["some", "all"])
def test_reset_replaces_the_whole_state(case: str, dtype: torch.dtype, density: float) -> None:
    layer = make(case, dtype)
    x, state = inputs(layer, dtype), carried(layer, dtype)
    reset = torch.rand(B, L) < density
    reset[0, 0] = True
    close(layer(x, state, reset), fold(layer, x, state, reset), dtype)
    close(layer(x, None, reset), fold(layer, x, None, reset), dtype)
    close(layer(x, state, torch.zeros_like(reset)), layer(x, state), dtype)


@each()
@dtypes
def test_reset_separates_sequences(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    x, state, reset = inputs(layer, dtype), carried(layer, dtype), random_reset()
    y, end = layer(x, state, reset)
    for row in range(B):
        now = mapped(state, lambda leaf, row=row: leaf[row : row + 1])
        starts = sorted({0, *reset[row].nonzero().flatten().tolist()})
        for start, stop in zip(starts, [*starts[1:], L], strict=True):
            now = None if reset[row, start] else now
            part, now = layer(x[row : row + 1, start:stop], now)
            close(y[row : row + 1, start:stop], part, dtype)
        close(mapped(end, lambda leaf, row=row: leaf[row : row + 1]), now, dtype)


@each()
@dtypes
@pytest.mark.parametrize("marked", [False, True], ids=["plain", "with-resets"])
def test_lengths_equal_each_sequence_alone(case: str, dtype: torch.dtype, marked: bool) -> None:
    layer = make(case, dtype)
    lengths = torch.tensor([L, 4, 0, 1])
    x, state = inputs(layer, dtype, rows=len(lengths)), carried(layer, dtype, rows=len(lengths))
    reset = (torch.rand(len(lengths), L) < 0.5) if marked else None
    padded = x.clone()
    for row, length in enumerate(lengths.tolist()):
        padded[row, length:] = float("nan")
    y, end = layer(padded, state, reset, lengths)
    for row, length in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        assert bool((y[one, length:] == 0).all()), "outputs after the end are zero"
        alone = mapped(state, lambda leaf, one=one: leaf[one])
        if length:
            part, alone = layer(x[one, :length], alone, None if reset is None else reset[one, :length])
            close(y[one, :length], part, dtype)
        close(mapped(end, lambda leaf, one=one: leaf[one]), alone if alone is not None else end, dtype)


@each()
def test_padding_gets_and_gives_no_gradient(case: str) -> None:
    layer = make(case)
    lengths = torch.tensor([L, 4, 0])
    x, state = inputs(layer), differentiable(carried(layer))
    for row, length in enumerate(lengths.tolist()):
        x[row, length:] = float("nan")
    x.requires_grad_()
    for grad in gradients(layer(x, state, random_reset(), lengths), [x, *layer.parameters()]):
        assert bool(grad.isfinite().all()), "NaN in the padding reaches a gradient"
    (grad,) = gradients(layer(x, state, None, lengths), [x])
    assert all(not bool(grad[row, length:].any()) for row, length in enumerate(lengths.tolist()))


# ---- the state


@each(streaming=True, sequential=False)
@pytest.mark.parametrize("dtype", [torch.bfloat16, *DTYPES], ids=["bfloat16", "float32", "float64"])
def test_state_keeps_its_form_and_precision(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    first = layer.initial_state(B, dtype=dtype)
    x = inputs(layer, dtype)
    y, second = layer(x)
    y_t, third = layer.step(x[:, 0], second)
    assert y.dtype == y_t.dtype == dtype
    wide = {torch.float32, torch.complex64} if dtype != torch.float64 else {torch.float64, torch.complex128}
    for leaf, *others in zip(leaves(first), leaves(second), leaves(third), strict=True):
        assert leaf.shape[0] == B
        assert _whole(leaf) or leaf.dtype in wide
        assert all(other.shape == leaf.shape and other.dtype == leaf.dtype for other in others)
    named = first if hasattr(first, "_fields") else first[0]
    assert hasattr(named, "_fields"), "a state is a NamedTuple, or a tuple of them"
    assert type(second) is type(first) is type(third)


@each(streaming=False, sequential=False)
def test_a_layer_that_reads_both_ways_says_so(case: str) -> None:
    layer = make(case)
    assert leaves(layer.initial_state(B)) == []
    with pytest.raises(UserError, match="both ways"):
        layer.step(inputs(layer)[:, 0], layer.initial_state(B))
    with pytest.raises(UserError, match="carries no state"):
        layer(inputs(layer), (torch.zeros(B),))


# ---- gradients, round trips, compilers, threads


@each(sequential=False)
def test_gradcheck_against_the_reference(case: str) -> None:
    layer = make(case, torch.float64)
    x = inputs(layer, torch.float64, rows=2, length=5).requires_grad_()
    state = differentiable(carried(layer, torch.float64, rows=2))
    reset = random_reset(2, 5) if "L" in layer.axes else None
    floating = [leaf for leaf in leaves(state) if leaf.requires_grad]
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        queue = iter(rest[: len(floating)])
        now = mapped(state, lambda leaf: next(queue) if leaf.requires_grad else leaf)
        weights = dict(zip(names, rest[len(floating) :], strict=True))
        out = torch.func.functional_call(layer, weights, (x, now, reset))
        return tuple(leaf for leaf in leaves(out) if not _whole(leaf))

    with ops.use_backend("reference"):
        assert torch.autograd.gradcheck(run, (x, *floating, *parameters), fast_mode=True)


@each(sequential=False)
def test_weights_and_dtypes_round_trip(case: str) -> None:
    layer, twin = make(case), make(case)
    x = inputs(layer)
    expected = layer(x)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.fill_(0.5)
    twin.load_state_dict(layer.state_dict())
    close(twin(x), expected, torch.float32, loose=0)
    close(layer.double().float()(x), expected, torch.float32, loose=0)
    wide = layer.double()(x.double())
    close(
        mapped(wide, lambda leaf: leaf if _whole(leaf) else leaf.to(_narrow(leaf))), expected, torch.float32
    )


def _narrow(tensor: Tensor) -> torch.dtype:
    return torch.complex64 if tensor.is_complex() else torch.float32


@each(sequential=False)
def test_everything_follows_the_device(case: str) -> None:
    layer = make(case)
    x, expected = inputs(layer), layer(inputs(layer))
    there = layer.to("meta")
    y, state = there(x.to("meta"))
    for actual, like in zip(leaves((y, state)), leaves(expected), strict=True):
        assert (actual.device.type, actual.shape, actual.dtype) == ("meta", like.shape, like.dtype)
    assert all(leaf.device.type == "meta" for leaf in leaves(there.initial_state(B)))


class Step(nn.Module):
    """`step` as the forward of a module, which is what exporters take."""

    def __init__(self, layer: Layer[Any]) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.layer.step(x_t, state)


@each(streaming=True)
def test_compiled_step_equals_eager(case: str) -> None:
    layer = make(case)
    x_t, state = inputs(layer)[:, 0], carried(layer)
    torch.compiler.reset()
    compiled = torch.compile(layer.step, backend="aot_eager", fullgraph=True)
    close(compiled(x_t, state), layer.step(x_t, state), torch.float32)


@each(sequential=False)
def test_compiled_forward_equals_eager(case: str) -> None:
    layer = make(case)
    x, state, reset = inputs(layer).requires_grad_(), carried(layer), random_reset()
    arguments = (x, state, reset) if "L" in layer.axes else (x,)
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    actual, expected = compiled(*arguments), layer(*arguments)
    close(actual, expected, torch.float32)
    wrt = [x, *layer.parameters()]
    close(tuple(gradients(actual, wrt)), tuple(gradients(expected, wrt)), torch.float32, loose=10)


@each(streaming=True)
def test_exported_step_equals_eager(case: str) -> None:
    layer = make(case)
    x_t, state = inputs(layer)[:, 0], carried(layer)
    program = torch.export.export(Step(layer), (x_t, state))
    close(program.module()(x_t, state), layer.step(x_t, state), torch.float32)


@each(sequential=False)
@dtypes
def test_backends_agree(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    x, state, reset = inputs(layer, dtype).requires_grad_(), carried(layer, dtype), random_reset()
    arguments = (x, state, reset) if "L" in layer.axes else (x,)
    wrt = [x, *layer.parameters()]
    with ops.use_backend("reference"):
        expected = layer(*arguments)
        slopes = gradients(expected, wrt)
    actual = layer(*arguments)
    close(actual, expected, dtype)
    close(tuple(gradients(actual, wrt)), tuple(slopes), dtype, loose=10)


@each(sequential=False)
def test_threads_agree(case: str) -> None:
    layer = make(case)
    x = inputs(layer, rows=4, length=64 if "L" in layer.axes else L).requires_grad_()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            out = layer(x)
            results.append((out, tuple(gradients(out, [x, *layer.parameters()]))))
    finally:
        torch.set_num_threads(1)
    close(results[1], results[0], torch.float32, loose=0.1)
