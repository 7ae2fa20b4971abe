"""A trained policy as a directory: it acts in a fresh process, without the data or the run it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from statewise.core.config import config_class, from_dict, to_dict
from statewise.core.errors import CheckpointError
from statewise.core.train import load_model, save_model
from statewise.rl.acting import Actor
from statewise.rl.environments.make import EnvironmentSpec
from statewise.rl.interface import Interface

__all__ = ["Policy", "load_policy", "save_policy"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a model directory holds, ready to act."""

    path: Path
    model: str
    """Name of the model."""
    family: str
    """agent, sequence or drama."""
    spec: EnvironmentSpec
    """The environment it was made for."""
    interface: Interface
    network: nn.Module
    facts: dict[str, Any]
    """Further plain values of the family."""

    def actor(self, *, greedy: bool = True, target: float | None = None) -> Actor:
        """The policy at work.

        Args:
            greedy: take the likeliest action instead of drawing one; some families know only this.
            target: return to ask for, of those that can be asked; None for the one kept with the model.
        """
        from statewise.rl.families import FAMILIES

        return FAMILIES[self.family].actor(self, greedy=greedy, target=target)


def save_policy(
    path: Path,
    network: nn.Module,
    *,
    model: str,
    family: str,
    spec: EnvironmentSpec,
    interface: Interface,
    facts: dict[str, Any] | None = None,
) -> Path:
    """Write the directory; its path."""
    metadata = {
        "model": model,
        "family": family,
        "environment": to_dict(spec),
        "interface": to_dict(interface),
        "facts": facts or {},
        "network": type(network).__name__,
    }
    config = to_dict(network.config)
    return save_model(path, kind=f"rl/{model}", config=config, metadata=metadata, network=network)


def load_policy(path: str | Path) -> Policy:
    """Read a model directory, or that of a run.

    Raises:
        CheckpointError: there is none, or it is damaged, of another app or too new.
    """
    from statewise.rl.families import FAMILIES

    saved = load_model(path, kind="rl")
    facts = saved.metadata
    if facts.get("family") not in FAMILIES:
        raise CheckpointError(
            "is of a family that is not known here",
            where=str(saved.path),
            seen=str(facts.get("family")),
            expected=f"one of {', '.join(FAMILIES)}",
        )
    network_class = FAMILIES[facts["family"]].network(facts["network"])
    config = from_dict(config_class(network_class), saved.config, where=str(saved.path))
    network = network_class(config)
    saved.load_weights(network)
    network.eval()
    return Policy(
        path=saved.path,
        model=facts["model"],
        family=facts["family"],
        spec=from_dict(EnvironmentSpec, facts["environment"], where=str(saved.path)),
        interface=from_dict(Interface, facts["interface"], where=str(saved.path)),
        network=network,
        facts=facts["facts"],
    )
