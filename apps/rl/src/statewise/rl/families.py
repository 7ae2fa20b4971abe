"""How each family of saved models is built again, and what acts with it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from statewise.core.errors import CheckpointError

if TYPE_CHECKING:
    from statewise.rl.acting import Actor
    from statewise.rl.saved import Policy

__all__ = ["FAMILIES", "Family"]


@dataclass(frozen=True)
class Family:
    """Models that are saved and act alike."""

    networks: Mapping[str, str]
    """Classes by name, as `module:Class`."""
    acting: str
    """`module:function` that makes an actor from a policy, whether it is greedy, and a target return."""

    def network(self, name: str) -> Any:
        """The class of a network.

        Raises:
            CheckpointError: there is none of that name.
        """
        if name not in self.networks:
            raise CheckpointError(
                "names a network that is not known", seen=name, expected=f"one of {', '.join(self.networks)}"
            )
        return _load(self.networks[name])

    def actor(self, policy: Policy, *, greedy: bool, target: float | None) -> Actor:
        """The policy at work."""
        return _load(self.acting)(policy, greedy=greedy, target=target)


FAMILIES = {
    "drama": Family(
        networks={"DramaNetwork": "statewise.rl.drama.network:DramaNetwork"},
        acting="statewise.rl.drama.policy:drama_actor",
    ),
    "agent": Family(
        networks={"Agent": "statewise.rl.models.agent:Agent"},
        acting="statewise.rl.models.policy:agent_actor",
    ),
    "sequence": Family(
        networks={
            "AarenPolicy": "statewise.rl.models.aaren_policy:AarenPolicy",
            "BC": "statewise.rl.models.bc:BC",
            "DS4": "statewise.rl.models.ds4:DS4",
            "DT": "statewise.rl.models.dt:DT",
        },
        acting="statewise.rl.offline.policy:sequence_actor",
    ),
}


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
