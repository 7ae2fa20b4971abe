"""Weights of a trained model as the start of another: a feature extractor, frozen or to be tuned."""

from __future__ import annotations

from torch import nn

from statewise.core.errors import CheckpointError
from statewise.vision.models.image_model import ImageModel
from statewise.vision.saved import Classifier

__all__ = ["taken_over"]


def taken_over(network: ImageModel, start: Classifier, *, freeze: bool) -> None:
    """Load all weights of `start` but the head into `network`.

    A position table of another grid is resized.

    Args:
        network: of the same architecture; its head and its resolution may differ.
        start: the trained model.
        freeze: leave them as they are in training; batch norms then keep their statistics.

    Raises:
        CheckpointError: the architectures differ.
    """
    ours, theirs = network.state_dict(), start.network.state_dict()
    body = {name: value for name, value in theirs.items() if not name.startswith("head.")}
    table = "positions.table"
    if table in body and table in ours and body[table].shape[-1] == ours[table].shape[-1]:
        positions = start.network.get_submodule("positions")
        body[table] = positions(ours[table].new_zeros(ours[table].shape))
    for name, value in ours.items():
        if name.startswith("head."):
            continue
        if name not in body or body[name].shape != value.shape:
            raise CheckpointError(
                "is a model of another architecture",
                where="--start",
                seen=f"'{name}' {'missing' if name not in body else tuple(body[name].shape)}",
                expected=f"{tuple(value.shape)}: the same --model, patch and --channels",
                fix=f"train with --model {start.model} and its size",
            )
    network.load_state_dict(body, strict=False)
    if freeze:
        _frozen(network)


def _frozen(network: ImageModel) -> None:
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith("head."))
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0
