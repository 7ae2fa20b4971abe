"""`forecast export`: the fitted networks and linear maps of a run as ONNX files, one per method.

    values (B, L), mean (B, 1), scale (B, 1), features (B, L, F)  ->  forecast (B, H)
    of methods that read V series together: values (B, L, V), features (B, L, V, F)  ->  forecast (B, V, H)

All in the units of the series. Beside each file a JSON document says the lookback, the names of the
features and each series' mean and scale. Recurrences are unrolled over the window, so that a runtime needs
no operator of its own, and complex states (s5, lru) become pairs of real ones. Of a blend every such member
has a file, which says its weight. Naive and statistical methods have no file: their rules are a line each,
or a fit at every origin.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from statewise.core import ops
from statewise.core.errors import MissingExtraError, UserError
from statewise.core.train.atomic import replace_file, write_text
from statewise.timeseries import calendar
from statewise.timeseries.forecaster import Forecaster
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.models.blend import Blend
from statewise.timeseries.models.linear import WindowLinear
from statewise.timeseries.network import NetworkForecaster
from statewise.timeseries.real_form import with_real_states
from statewise.timeseries.saved import SavedForecast, load_forecast

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ExportedMethod", "export_run"]

OPSET = 20


@dataclass(frozen=True, kw_only=True)
class ExportedMethod:
    """One file."""

    method: str
    path: Path
    description: dict[str, Any]
    """What stands in the JSON document beside it."""


def export_run(
    path: str | Path, out: str | Path | None = None, *, batch_size: int = 1
) -> list[ExportedMethod]:
    """Write every method of a run that has a form of its own.

    Args:
        path: the run or model directory.
        out: the directory to write to; None for `onnx` in the run.
        batch_size: B, fixed in the file.

    Raises:
        UserError: no method of the run can be exported, or the files cannot be written.
        MissingExtraError: the packages of ONNX are not installed.
    """
    saved = load_forecast(path)
    _require_onnx()
    folder = Path(path) / "onnx" if out is None else Path(out)
    used = {saved.portfolio.chosen.get(name, saved.portfolio.default) for name in saved.panel.ids}
    done = []
    for name, method, weights in _parts(saved):
        if isinstance(method, NetworkForecaster):
            _require_grid(name, method)
            done.append(_export_network(name, method, saved, folder, batch_size, weights))
        elif isinstance(method, WindowLinear):
            done.append(_export_linear(name, method, saved, folder, batch_size, weights))
    if not done:
        raise UserError(
            "holds no method that can be exported",
            where=str(path),
            seen=", ".join(sorted(used)),
            expected="a linear method or a network",
            fix="fit one: forecast fit data.csv --model nlinear",
        )
    return done


def _parts(saved: SavedForecast) -> list[tuple[str, Forecaster, dict[str, float]]]:
    """Every method; of a blend its members, with all weights of the blend."""
    parts: list[tuple[str, Forecaster, dict[str, float]]] = []
    for name, method in saved.portfolio.methods.items():
        if isinstance(method, Blend):
            parts += [(f"{name}-{one}", member, method.weights) for one, member in method.members.items()]
        else:
            parts.append((name, method, {}))
    return parts


class _Network(nn.Module):
    """A network between raw values and raw forecasts, one series at a time."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, values: Tensor, mean: Tensor, scale: Tensor, features: Tensor) -> Tensor:
        x = torch.cat([((values - mean) / scale)[..., None], features], dim=-1)
        return self.model(x) * scale + mean


class _JointNetwork(nn.Module):
    """The same for series that are read together, whose units are part of it."""

    mean: Tensor
    scale: Tensor

    def __init__(self, model: nn.Module, mean: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("scale", torch.from_numpy(scale).float())

    def forward(self, values: Tensor, features: Tensor) -> Tensor:
        x = torch.cat([((values - self.mean) / self.scale)[..., None], features], dim=-1)
        return self.model(x) * self.scale[:, None] + self.mean[:, None]


class _Linear(nn.Module):
    """A linear map of the window."""

    weights: Tensor
    bias: Tensor

    def __init__(self, method: WindowLinear) -> None:
        super().__init__()
        self.anchored = method.anchored
        self.register_buffer("weights", torch.from_numpy(method.maps[0]).float())
        self.register_buffer("bias", torch.from_numpy(method.biases[0]).float())

    def forward(self, values: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        x = (values - mean) / scale
        anchor = x[:, -1:] if self.anchored else torch.zeros_like(x[:, -1:])
        return (anchor + (x - anchor) @ self.weights + self.bias) * scale + mean


def _export_network(
    name: str,
    method: NetworkForecaster[Any],
    saved: SavedForecast,
    folder: Path,
    batch_size: int,
    weights: dict[str, float],
) -> ExportedMethod:
    inputs, model = method.fitted
    model = with_real_states(model.cpu().eval())
    description = _described(name, inputs, saved, batch_size) | ({"blend": weights} if weights else {})
    lookback, features = inputs.lookback, inputs.features
    if method.joint:
        units = np.array(list(inputs.scales.values()))
        module: nn.Module = _JointNetwork(model, units[:, 0], units[:, 1])
        arguments = (
            torch.randn(batch_size, lookback, len(units)),
            torch.zeros(batch_size, lookback, len(units), features),
        )
        names = ["values", "features"]
    else:
        module = _Network(model)
        one = torch.ones(batch_size, 1)
        arguments = (
            torch.randn(batch_size, lookback), 0 * one, one, torch.zeros(batch_size, lookback, features)
        )  # fmt: skip
        names = ["values", "mean", "scale", "features"]
    return _write(name, module, arguments, names, description, folder)


def _require_grid(name: str, method: NetworkForecaster[Any]) -> None:
    if method.fitted[0].gap is not None:
        raise UserError(
            f"{name} reads rows at irregular times, for which the file has no form",
            fix="fit on the steps instead: forecast fit data.csv --resample",
        )


def _export_linear(
    name: str,
    method: WindowLinear,
    saved: SavedForecast,
    folder: Path,
    batch_size: int,
    weights: dict[str, float],
) -> ExportedMethod:
    if len(method.maps) > 1 or method.effects.any():
        what = "a map for each series" if len(method.maps) > 1 else "effects of covariates"
        raise UserError(f"{name} has {what}, which the file would not hold", fix="export a network instead")
    lookback = method.maps.shape[1]
    scales = {
        one: {"mean": float(method.scaling[place, 0]), "scale": float(method.scaling[place, 1])}
        for one, place in method.places.items()
    }
    description = {
        "method": name,
        "lookback": lookback,
        "horizon": method.horizon,
        "batch_size": batch_size,
        "frequency": saved.panel.frequency.code,
        "features": [],
        "series": scales,
    } | ({"blend": weights} if weights else {})
    one = torch.ones(batch_size, 1)
    arguments = (torch.randn(batch_size, lookback), 0 * one, one)
    return _write(name, _Linear(method), arguments, ["values", "mean", "scale"], description, folder)


def _described(name: str, inputs: Inputs, saved: SavedForecast, batch_size: int) -> dict[str, Any]:
    known = list(calendar.names(inputs.frequency)) if inputs.calendar else []
    known += ["observed"] if inputs.gaps else []
    for shift in inputs.shifts:
        known += [f"{name}, {shift} steps ahead" for name in _named(saved, inputs.ahead)]
    known += _named(saved, ~inputs.ahead)
    return {
        "method": name,
        "lookback": inputs.lookback,
        "horizon": inputs.horizon,
        "batch_size": batch_size,
        "frequency": inputs.frequency.code,
        "features": known,
        "series": {one: {"mean": mean, "scale": scale} for one, (mean, scale) in inputs.scales.items()},
    }


def _named(saved: SavedForecast, chosen: np.ndarray) -> list[str]:
    return [name for name, use in zip(saved.panel.covariate_names, chosen, strict=True) if use]


def _write(
    name: str,
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    names: list[str],
    description: dict[str, Any],
    folder: Path,
) -> ExportedMethod:
    """Trace, compare with the module, convert and write."""
    module = module.eval().requires_grad_(False)
    with ops.use_backend("reference"), torch.no_grad():
        program = torch.export.export(module, arguments, strict=False)
        expected, actual = module(*arguments), program.module()(*arguments)
    if not torch.allclose(actual, expected, rtol=1e-4, atol=1e-4):
        raise RuntimeError(f"the exported program of {name} differs from it")
    converted = _converted(name, program, names)
    for node in converted.model.graph.all_nodes():
        node.metadata_props.clear()  # they name directories of this machine
    converted.model.metadata_props["statewise"] = json.dumps(description)
    content = converted.model_proto.SerializeToString()
    path = folder / f"{name}.onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda new: new.write_bytes(content))
        write_text(path.with_suffix(".json"), json.dumps(description, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=str(path), fix="choose another place with --out"
        ) from None
    return ExportedMethod(method=name, path=path, description=description)


def _converted(name: str, program: ExportedProgram, names: list[str]) -> Any:
    try:
        with _quiet():
            return torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=names,
                output_names=["forecast"],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f"ONNX has no form for an operation of {name}",
            seen=str(error.__cause__ or error).splitlines()[0],
            fix="export another method: linear methods, tpgn, gla, mamba, s5 and lru can",
        ) from error


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        package = error.name or "onnxscript"
        raise MissingExtraError(package, "statewise-core[export]", "export to ONNX") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that nothing here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
