"""The stream: block by block equals the file, sample for sample, for every model that streams."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from statewise.core.errors import DataError, UserError
from statewise.speech.models import build
from statewise.speech.models.enhancer import Enhancer, enhance
from statewise.speech.models.frcrn import FRCRN, FRCRNConfig
from statewise.speech.stepping import BlockEnhancer
from statewise.speech.streaming import stream
from tests.speech.sounds import hum

STREAMING = ["frcrn", "recurrent-mask-tiny", "band-split-tiny", "wiener", "noisy"]


def model(name: str) -> Enhancer:
    torch.manual_seed(0)
    if name == "frcrn":
        return FRCRN(FRCRNConfig(channels=2, causal=True)).eval()
    return build(name)[1].eval()


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize("samples", [0, 1, 5000, 6400])
def test_raw_samples_through_the_stream_are_the_file(name: str, samples: int):
    network = model(name)
    x = hum(1.0, 16_000)[:samples, 0].astype(np.float32)
    target = io.BytesIO()
    latency = stream(network, io.BytesIO(x.tobytes()), target, "f32le")
    y = np.frombuffer(target.getvalue(), "<f4")
    assert len(y) == samples
    assert latency.blocks == max(1, -(-samples // network.stft.hop))
    if samples:
        with torch.no_grad():
            expected = enhance(network, torch.from_numpy(x)[None])[0].numpy()
        assert np.abs(y - expected).max() < 1e-5


def test_integers_go_through_unchanged():
    x = (3000 * hum(0.5, 16_000)[:, 0]).astype("<i2")
    target = io.BytesIO()
    stream(model("noisy"), io.BytesIO(x.tobytes()), target, "s16le")
    assert np.array_equal(np.frombuffer(target.getvalue(), "<i2"), x)


class Trickle(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def read(self, size: int = -1) -> bytes:
        return super().read(min(size, 37))


def test_a_pipe_may_give_any_number_of_bytes():
    x = (3000 * hum(0.3, 16_000)[:, 0]).astype("<i2")
    target = io.BytesIO()
    stream(model("noisy"), Trickle(x.tobytes()), target)
    assert np.array_equal(np.frombuffer(target.getvalue(), "<i2"), x)


def test_half_a_sample_and_numbers_that_are_none_are_refused():
    with pytest.raises(DataError, match="ends inside a sample"):
        stream(model("noisy"), io.BytesIO(b"abc"), io.BytesIO())
    with pytest.raises(DataError, match="not a number"):
        stream(model("noisy"), io.BytesIO(np.full(320, np.nan, "<f4").tobytes()), io.BytesIO(), "f32le")


@pytest.mark.parametrize("name", ["gating", "frcrn-tiny"])
def test_models_of_whole_signals_say_so(name: str):
    with pytest.raises(UserError, match="whole signals"):
        BlockEnhancer(build(name)[1])


def test_block_layer_keeps_the_contract_of_layers():
    layer = BlockEnhancer(model("recurrent-mask-tiny")).eval()
    x = 0.1 * torch.randn(2, 6, layer.config.d_model)
    with torch.no_grad():
        whole, _ = layer(x)
        state, parts = layer.initial_state(2), []
        for block in x.unbind(1):
            y, state = layer.step(block, state)
            parts.append(y)
    assert (torch.stack(parts, 1) - whole).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["frcrn-tiny-causal", "recurrent-mask-gru", "band-split-small"])
def test_exported_graph_is_the_model_over_ten_seconds(name: str, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from statewise.core.export import export_step

    network = model(name)
    layer = BlockEnhancer(network).eval()
    exported = export_step(layer, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    hop = network.stft.hop
    x = 0.1 * torch.randn(1, 160_000 // hop * hop)
    feed = {port.input: np.full(port.shape, port.initial, dtype=port.dtype) for port in exported.state}
    made = []
    for block in x.split(hop, 1):
        y, *rest = session.run(None, {"x": block.numpy(), **feed})
        feed = {port.input: value for port, value in zip(exported.state, rest, strict=True)}
        made.append(y)
    with torch.no_grad():
        whole, _ = layer(x.unflatten(1, (-1, hop)))
    assert np.abs(np.concatenate(made, 1) - whole.flatten(1).numpy()).max() < 1e-4
