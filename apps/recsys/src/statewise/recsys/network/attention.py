"""The attention encoders: `causal` (SASRec) and `bidir` (BERT4Rec), on right-padded windows.

    x <- x + g(attention(norm(x)));   x <- x + g(W2 act(W1 norm(x)))          g: identity, or a learnt gate
    a window's last norm(x)

Pre-norm blocks (Xiong et al., 2020) with positions that are learnt and counted from the newest event: the
last event of a short history and that of a long one are at the same place. Under the causal mask padding on
the right is never seen; without it padded keys are masked. `gated` is the LiGR variant (Borisyuk et al.,
2024): each branch is multiplied by sigmoid(V norm(x)).

Kang and McAuley, Self-Attentive Sequential Recommendation, 2018; Sun et al., BERT4Rec, 2019.

Shapes: x (B, L, D). Core's `attention` layer streams over a sliding window with rotary positions; this one
reads whole windows, both ways where asked, and does not stream.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.layers.masking import live
from statewise.recsys.network.dropout import ByteDropout

__all__ = ["AttentionEncoder"]


class _Gate(nn.Module):
    """sigmoid(V x) * branch, or the branch alone."""

    def __init__(self, d_model: int, gated: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_model) if gated else None

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        return branch if self.gate is None else torch.sigmoid(self.gate(x)) * branch


class _Block(nn.Module):
    def __init__(
        self, d_model: int, heads: int, hidden: int, dropout: float, *, causal: bool, gated: bool, gelu: bool
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.gelu = heads, causal, gelu
        self.attention_norm = nn.LayerNorm(d_model, eps=1e-6)
        self.projection = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.mlp_norm = nn.LayerNorm(d_model, eps=1e-6)
        self.up = nn.Linear(d_model, hidden)
        self.down = nn.Linear(hidden, d_model)
        self.gates = nn.ModuleList(_Gate(d_model, gated) for _ in range(2))
        self.dropout = ByteDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        first, second = self.gates
        normed = self.attention_norm(x)
        x = x + first(normed, self.dropout(self.attend(normed, mask)))
        normed = self.mlp_norm(x)
        inner = F.gelu(self.up(normed)) if self.gelu else F.relu(self.up(normed))
        return x + second(normed, self.dropout(self.down(self.dropout(inner))))

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.projection(x).chunk(3, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))


class AttentionEncoder(nn.Module):
    """A stack of blocks over windows of at most `length` events.

    Args:
        d_model: D.
        depth: blocks.
        heads: divides D.
        length: longest window.
        dropout: on the positions' sum, the hidden units and what each branch adds.
        mlp_ratio: hidden units per feature.
        causal: each event sees those before it, or all.
        gated: gate each branch.
        gelu: activation, else relu.
    """

    streaming = False

    def __init__(
        self,
        d_model: int,
        depth: int,
        heads: int,
        length: int,
        dropout: float,
        *,
        mlp_ratio: float,
        causal: bool,
        gated: bool,
        gelu: bool,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.positions = nn.Parameter(torch.randn(length, d_model) * 0.02)
        hidden = int(mlp_ratio * d_model)
        self.blocks = nn.ModuleList(
            _Block(d_model, heads, hidden, dropout, causal=causal, gated=gated, gelu=gelu)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(d_model, eps=1e-6)
        self.dropout = ByteDropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D); anything after the end of a row."""
        from_end = lengths[:, None] - 1 - torch.arange(x.shape[1], device=x.device)
        x = self.dropout(x + F.embedding(from_end.clamp(min=0), self.positions))
        mask = None
        if not self.causal and int(lengths.min()) < x.shape[1]:
            there = live(lengths.clamp(min=1), x.shape[1])
            mask = there[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)
