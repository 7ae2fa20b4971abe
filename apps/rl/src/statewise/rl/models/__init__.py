"""The table of models. Reading it imports nothing."""

from __future__ import annotations

from statewise.core.registry import Entry, Registry

__all__ = ["MODELS"]


def _ppo(memory: str, paper: str, year: int, summary: str) -> Entry:
    facts = {"learns": "in an environment", "memory": memory, "settings": {"memory": memory}}
    return Entry(target="statewise.rl.ppo:PPO", summary=summary, paper=paper, year=year, facts=facts)


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
        "drama": Entry(
            target="statewise.rl.drama.learner:Drama",
            summary="a world model on Mamba-2, and a policy that is trained in its imagination",
            paper="Wang et al., Drama: Mamba-Enabled Model-Based Reinforcement Learning",
            year=2025,
            facts={"learns": "in an environment", "memory": "mamba2"},
        ),
        "ds4": Entry(
            target="statewise.rl.models.ds4:DS4",
            summary="state space layers over whole trajectories; constant cost per step",
            paper="Bar-David et al., Decision S4: Efficient Sequence-Based RL via State Spaces Layers",
            year=2023,
            facts={"learns": "from data", "memory": "s4d"},
        ),
        "ds4-online": Entry(
            target="statewise.rl.finetune.learner:DS4Online",
            summary="a ds4 that goes on in the environment: actor and critic from stored states",
            paper="Bar-David et al., Decision S4: Efficient Sequence-Based RL via State Spaces Layers",
            year=2023,
            facts={"learns": "in an environment", "memory": "s4d"},
        ),
        "dt": Entry(
            target="statewise.rl.models.dt:DT",
            summary="causal transformer over a window of returns, observations and actions",
            paper="Chen et al., Decision Transformer: Reinforcement Learning via Sequence Modeling",
            year=2021,
            facts={"learns": "from data", "memory": "a window"},
        ),
        "aaren": Entry(
            target="statewise.rl.models.aaren_policy:AarenPolicy",
            summary="the same with attention as a recurrence; constant cost per step",
            paper="Feng et al., Attention as an RNN",
            year=2024,
            facts={"learns": "from data", "memory": "aaren"},
        ),
        "bc": Entry(
            target="statewise.rl.models.bc:BC",
            summary="behaviour cloning: an MLP on the observation; what the others have to beat",
            facts={"learns": "from data", "memory": "none"},
        ),
        "percent-bc": Entry(
            target="statewise.rl.models.bc:BC",
            summary="behaviour cloning on the best tenth of the episodes",
            paper="Chen et al., Decision Transformer: Reinforcement Learning via Sequence Modeling",
            year=2021,
            facts={"learns": "from data", "memory": "none", "settings": {"best": 0.1}},
        ),
    },
    group="statewise.rl.models",
)
