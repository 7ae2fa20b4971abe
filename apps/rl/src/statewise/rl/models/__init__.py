"""The table of models. Reading it imports nothing."""

from __future__ import annotations

from statewise.core.registry import Entry, Registry

__all__ = ["MODELS"]


def _ppo(memory: str, paper: str, year: int | None, summary: str) -> Entry:
    return Entry(
        target="statewise.rl.ppo:PPO",
        summary=summary,
        paper=paper,
        year=year,
        facts={"learns": "in an environment", "memory": memory},
    )


_LU = "Lu et al., Structured State Space Models for In-Context Reinforcement Learning"

MODELS = Registry(
    "model",
    {
        "s5-ppo": _ppo("s5", _LU, 2023, "PPO whose S5 memory resets inside the scan; the first to try"),
        "gru-ppo": _ppo(
            "gru", "Schulman et al., Proximal Policy Optimization Algorithms", 2017, "the same on a GRU"
        ),
        "lstm-ppo": _ppo(
            "lstm", "Schulman et al., Proximal Policy Optimization Algorithms", 2017, "the same on an LSTM"
        ),
        "mamba-ppo": _ppo(
            "mamba", "Gu and Dao, Mamba: Linear-Time Sequence Modeling", 2023, "the same on Mamba"
        ),
        "lru-ppo": _ppo(
            "lru", "Orvieto et al., Resurrecting Recurrent Neural Networks", 2023, "the same on an LRU"
        ),
        "mlp-ppo": _ppo(
            "mlp",
            "Schulman et al., Proximal Policy Optimization Algorithms",
            2017,
            "the same without memory: the yardstick",
        ),
    },
    group="statewise.rl.models",
)
