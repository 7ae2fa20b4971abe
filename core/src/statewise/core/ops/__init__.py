"""The recurrences that every layer is built from.

Functional, layout (B, L, ...): time second, channels last. States are never below float32 or complex64. Each
operator has a reference that defines it and faster paths that must match it; `dispatch` says how one is
chosen.
"""

from statewise.core.ops.depthwise_conv import depthwise_conv
from statewise.core.ops.discretise import discretise
from statewise.core.ops.dispatch import BACKENDS, OPERATORS, explain, use_backend
from statewise.core.ops.gated_delta_rule import gated_delta_rule
from statewise.core.ops.gated_linear_attention import gated_linear_attention
from statewise.core.ops.krylov_kernel import krylov_kernel
from statewise.core.ops.linear_scan import linear_scan
from statewise.core.ops.long_conv import long_conv
from statewise.core.ops.path_weights import path_weights
from statewise.core.ops.prefix_softmax import PrefixState, prefix_softmax
from statewise.core.ops.rnn_scan import rnn_scan
from statewise.core.ops.s4_kernel import s4_kernel
from statewise.core.ops.s4d_kernel import s4d_kernel
from statewise.core.ops.scan2d import scan2d
from statewise.core.ops.scan2d_edges import scan2d_edges
from statewise.core.ops.scan2d_matrix import scan2d_matrix
from statewise.core.ops.selective_scan import selective_scan

__all__ = [
    "BACKENDS",
    "OPERATORS",
    "PrefixState",
    "depthwise_conv",
    "discretise",
    "explain",
    "gated_delta_rule",
    "gated_linear_attention",
    "krylov_kernel",
    "linear_scan",
    "long_conv",
    "path_weights",
    "prefix_softmax",
    "rnn_scan",
    "s4_kernel",
    "s4d_kernel",
    "scan2d",
    "scan2d_edges",
    "scan2d_matrix",
    "selective_scan",
    "use_backend",
]
