"""How an operator finds its implementation, and how it becomes one node of a compiled graph.

Every operator lives in a folder of its own: `reference.py` is the loop that defines it, `portable.py` plain
torch, `cpu.py` numba, `gpu.py` Triton. An `Op` names them and chooses per call: the GPU kernel for CUDA
tensors, numba for CPU tensors, plain torch otherwise. `use_backend`, or the environment variable
STATEWISE_BACKEND as it stands at the first call, chooses by hand; `explain` says what is chosen and why.
Neither numba nor Triton is imported before a call needs it.

A call on short sequences is mostly overhead, and code that runs once between two kernels runs from cold
caches: what does not depend on the values is looked up, not worked out again.

To write an operator, copy `linear_scan`: declare `OP`, register `forward` and `backward` as nodes, check the
arguments in the public function, and call the node.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType, NoneType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from statewise.core.errors import UnknownNameError, UserError

__all__ = [
    "AUTO", "BACKENDS", "OPERATORS", "Op", "explain", "is_written_out", "kernels_installed", "use_backend",
    "written_out",
]  # fmt: skip

BACKENDS = ("reference", "portable", "cpu", "gpu")
AUTO = "auto"
"""Stands for the choice that a compiled graph makes when it runs, perhaps on another machine."""

VARIABLE = "STATEWISE_BACKEND"
OPERATORS: dict[str, Op] = {}

_wish: ContextVar[str | None] = ContextVar("statewise_backend", default=None)
_plain_operations: ContextVar[bool] = ContextVar("statewise_written_out", default=False)
_log = logging.getLogger("statewise")
_PLAIN = frozenset({Tensor, torch.nn.Parameter, NoneType, bool, int, float, str})


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run the operators called inside on the backend `name`: reference, portable, cpu or gpu.

    A graph compiled inside is fixed to the reference if that is the name; other choices are made when it
    runs.

    Raises:
        UnknownNameError: there is no such backend.
    """
    _known(name)
    token = _wish.set(name)
    try:
        yield
    finally:
        _wish.reset(token)


@contextmanager
def written_out() -> Iterator[None]:
    """Trace the operators called inside as plain operations of torch in place of one node each.

    For exporters to runtimes that know nothing of this project: what is traced is the portable backend, its
    loops unrolled for the shapes at hand.
    """
    token = _plain_operations.set(True)
    try:
        yield
    finally:
        _plain_operations.reset(token)


def is_written_out() -> bool:
    """Whether operators are being traced as plain operations."""
    return _plain_operations.get()


def kernels_installed() -> bool:
    """Whether numba, which the kernels for CPUs are made of, is installed; it is not imported."""
    return importlib.util.find_spec("numba") is not None


def explain(op: str, device: str | torch.device = "cpu") -> dict[str, str]:
    """The backend that a call of `op` on `device` takes now and why: `{"backend": ..., "reason": ...}`."""
    if op not in OPERATORS:
        raise UnknownNameError("operator", op, OPERATORS)
    wish = _wish.get() or os.environ.get(VARIABLE) or None
    backend, reason, _ = OPERATORS[op].decide(torch.device(device).type, wish and _known(wish))
    return {"backend": backend, "reason": reason}


class Op:
    """An operator: its name, the package that holds its implementations, and which of them exist.

    Args:
        name: the name of the public function.
        package: the package with one module per backend, usually `__name__`.
        backends: names out of `BACKENDS`; `reference` and `portable` are always among them.
    """

    def __init__(self, name: str, package: str, backends: tuple[str, ...] = BACKENDS) -> None:
        self.name, self.package, self.backends = name, package, backends
        self._modules: dict[str, ModuleType] = {}
        self._choices: dict[tuple[str, str | None], str] = {}
        OPERATORS[name] = self

    def choose(self, tensor: Tensor) -> str:
        """The backend for a call on the device of `tensor`, or `AUTO` while a compiler is tracing.

        The reference is chosen at once even then: it is a loop to trace, not a node.
        """
        if torch.compiler.is_compiling():  # which does not trace through a cache
            return "reference" if (_wish.get() or os.environ.get(VARIABLE)) == "reference" else AUTO
        wish = _wished()
        if wish == "reference":
            return wish
        device = tensor.device.type
        return self._choices.get((device, wish)) or self._choose(device, wish)

    def load(self, backend: str, tensor: Tensor) -> ModuleType:
        """The module of `backend`; `AUTO` is decided here, by the device of `tensor`."""
        if backend == AUTO:
            backend = self._choose(tensor.device.type, _wished())
        module = self._modules.get(backend)
        if module is None:
            module = self._modules[backend] = importlib.import_module(f"{self.package}.{backend}")
        return module

    def decide(self, device: str, wish: str | None) -> tuple[str, str, bool]:
        """The backend for a device type and a wish, the reason, and whether it is slower than it could be."""
        if wish is not None:
            if obstacle := _obstacle(wish, device):
                raise UserError(
                    f"{self.name} cannot run on the backend '{wish}': {obstacle}",
                    where=f"use_backend or {VARIABLE}",
                    fix="choose another backend, or none: the fastest that works is found by itself",
                )
            if wish in self.backends:
                return wish, "chosen by hand", False
            return "portable", f"{self.name} has no backend '{wish}'", True
        best = {"cuda": "gpu", "cpu": "cpu"}.get(device)
        if best is None:
            return "portable", f"{self.name} has no kernel for {device} devices", True
        if best not in self.backends:
            if best == "cpu":
                return "portable", "plain torch is the fastest known on a CPU", False
            return "portable", f"{self.name} has no kernel for {device} devices", True
        if obstacle := _obstacle(best, device):
            return "portable", obstacle, True
        return best, f"the fastest on {device}", False

    def node(
        self,
        name: str,
        run: Callable[..., Any],
        *,
        fake: Callable[..., Any],
        save: Callable[..., None] | None = None,
        gradient: Callable[..., tuple[Tensor | None, ...]] | None = None,
    ) -> Callable[..., Any]:
        """Register `run` as `statewise::<name>` and return the callable for it.

        Compilers and exporters see one opaque node with the shapes of `fake`. Plain eager calls go round the
        dispatcher, through an `autograd.Function` made of the same parts: half the overhead of a small call.

        Args:
            name: name of the node, unique among all operators.
            run: the computation, annotated; returns fresh tensors, no views of its arguments or each other.
            fake: same signature, returns empty tensors of the right shapes and dtypes.
            save: `save(ctx, inputs, output)` keeps what the gradient needs.
            gradient: `gradient(ctx, *grads)`, per argument a gradient or None, from the backward's own node.
        """
        registered = torch.library.custom_op(f"statewise::{name}", run, mutates_args=())
        registered.register_fake(fake)
        direct = run
        if gradient is not None and save is not None:
            registered.register_autograd(gradient, setup_context=save)
            direct = _function(name, run, save, gradient).apply

        def call(*arguments: Any) -> Any:
            if _plain_operations.get():
                return run(*arguments[:-1], "portable")  # the last argument names the backend
            traced = torch.compiler.is_compiling() or is_in_torch_dispatch_mode()
            # a gradient that is to be differentiated again: the dispatcher records that it cannot be
            twice = gradient is None and torch.is_grad_enabled()
            if traced or twice or not _PLAIN.issuperset(map(type, arguments)):
                return registered(*arguments)
            if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
                with torch.autocast(_device(arguments), enabled=False):  # states stay as precise as they are
                    return direct(*arguments)
            return direct(*arguments)

        return call

    def _choose(self, device: str, wish: str | None) -> str:
        key = (device, wish)
        if key not in self._choices:
            backend, reason, slower = self.decide(device, wish)
            if slower:
                _log.warning("%s runs on the backend '%s': %s", self.name, backend, reason)
            self._choices[key] = backend
        return self._choices[key]


def _function(
    name: str, run: Callable[..., Any], save: Callable[..., None], gradient: Callable[..., Any]
) -> type[torch.autograd.Function]:
    """An `autograd.Function` of these parts.

    The older form, `forward(ctx, ...)`: binding arguments for `setup_context` costs 40 microseconds a call.
    """

    def forward(ctx: Any, *arguments: Any) -> Any:
        output = run(*arguments)
        save(ctx, arguments, output)
        return output

    parts = {"forward": staticmethod(forward), "backward": staticmethod(gradient)}
    return type(name, (torch.autograd.Function,), parts)


def _device(arguments: Sequence[Any]) -> str:
    """The type of the device of the first tensor."""
    return next(argument for argument in arguments if isinstance(argument, Tensor)).device.type


def _wished() -> str | None:
    """The backend asked for by hand, if any."""
    return _wish.get() or _environment()


@cache
def _environment() -> str | None:
    """The backend named by the environment; asking it costs a short call a tenth of its time."""
    name = os.environ.get(VARIABLE)
    return _known(name) if name else None


def _known(name: str) -> str:
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)
    return name


def _obstacle(backend: str, device: str) -> str | None:
    """Why `backend` cannot run on tensors of this device type, or None."""
    if backend == "cpu":
        return _import_problem("numba") if device == "cpu" else f"it takes CPU tensors, these are on {device}"
    if backend == "gpu":
        if device != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            return f"it takes CUDA tensors, these are on {device}"
        return _import_problem("triton")
    return None


@cache
def _import_problem(package: str) -> str | None:
    """None if `package` imports, else why not: a broken installation must not take the slower path unseen."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        return f"{package} does not import ({error})"
    return None
