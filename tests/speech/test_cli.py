"""The `speech` command: what it prints, writes and refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from statewise.speech.cli import app
from statewise.speech.models import MODELS
from tests.speech.sounds import hum, sound

WIENER = ("--model", "wiener")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("in/a.wav", "in/deep/b.flac", "in/deep/c.wav"):
        sound(name)(tmp_path)
    (tmp_path / "in" / "notes.txt").write_text("not a sound")
    return tmp_path


def run(*words: str | Path) -> int:
    return app.run([str(word) for word in words])


def test_a_folder_keeps_its_tree_and_is_skipped_the_second_time(
    tree: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("enhance", tree / "in", tree / "out", *WIENER) == 0
    made = {path.relative_to(tree / "out") for path in (tree / "out").rglob("*.*")}
    assert made == {Path("a.wav"), Path("deep/b.flac"), Path("deep/c.wav")}
    assert "3 done" in capsys.readouterr().err
    stamps = {path: path.stat().st_mtime_ns for path in (tree / "out").rglob("*.*")}
    assert run("enhance", tree / "in", tree / "out", *WIENER) == 0
    assert "3 skipped" in capsys.readouterr().err
    assert stamps == {path: path.stat().st_mtime_ns for path in (tree / "out").rglob("*.*")}
    assert run("enhance", tree / "in", tree / "out", *WIENER, "--overwrite", "--quiet") == 0


def test_without_an_output_it_stands_beside_the_input(tree: Path, capsys: pytest.CaptureFixture[str]):
    assert run("enhance", tree / "in" / "a.wav", *WIENER) == 0
    assert (tree / "in" / "a-enhanced.wav").is_file()
    assert "a-enhanced.wav" in capsys.readouterr().out


def test_one_file_that_fails_does_not_stop_the_others(tree: Path, capsys: pytest.CaptureFixture[str]):
    (tree / "in" / "broken.wav").write_text("text")
    assert run("enhance", tree / "in", "--out", tree / "out", *WIENER) == 2
    said = capsys.readouterr()
    assert "broken.wav: failed" in said.out
    assert "3 done, 1 failed" in said.err
    assert "1 of 4 files could not be enhanced" in said.err
    assert len(list((tree / "out").rglob("*.*"))) == 3


def test_patterns_and_lists(tree: Path):
    assert run("enhance", tree / "in" / "deep" / "*", "--out", tree / "o1", *WIENER, "-q") == 0
    assert {path.name for path in (tree / "o1").iterdir()} == {"b.flac", "c.wav"}
    (tree / "list.txt").write_text(f"{tree / 'in' / 'a.wav'}\nkey {tree / 'in' / 'deep' / 'b.flac'}\n")
    assert (
        run("enhance", f"@{tree / 'list.txt'}", "--out", tree / "o2", "--format", "wav", *WIENER, "-q") == 0
    )
    assert {path.name for path in (tree / "o2").iterdir()} == {"a.wav", "b.wav"}


class Pipe:
    """Standard input or output of bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)

    def write(self, text: str) -> int:
        return self.buffer.write(text.encode())

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def test_standard_input_and_output(tree: Path, monkeypatch: pytest.MonkeyPatch):
    source, target = Pipe((tree / "in" / "a.wav").read_bytes()), Pipe()
    monkeypatch.setattr("sys.stdin", source)
    monkeypatch.setattr("sys.stdout", target)
    assert run("enhance", "-", "-q", *WIENER) == 0
    made, rate = soundfile.read(io.BytesIO(target.buffer.getvalue()))
    assert (len(made), rate) == (soundfile.info(tree / "in" / "a.wav").frames, 16_000)


def test_stream_writes_sound_to_stdout_and_words_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    x = (3000 * hum(0.5, 16_000)[:, 0]).astype("<i2")
    target = Pipe()
    monkeypatch.setattr("sys.stdin", Pipe(x.tobytes()))
    monkeypatch.setattr("sys.stdout", target)
    assert run("stream", "--model", "noisy") == 0
    assert np.array_equal(np.frombuffer(target.buffer.getvalue(), "<i2"), x)
    assert "25 blocks of 20 ms, delay 40 ms" in capsys.readouterr().err


def test_plots_and_a_page_with_players(tree: Path):
    page = tree / "page.html"
    assert run("enhance", tree / "in", "--out", tree / "out", *WIENER, "--plot", "--report", page, "-q") == 0
    assert (tree / "out" / "a.png").read_bytes().startswith(b"\x89PNG")
    text = page.read_text(encoding="utf-8")
    assert text.count("<audio") == 6
    assert text.count("data:image/png") == 3
    assert "[[players" not in text
    assert not any(word in text for word in ('src="http', 'href="http', "url(http"))


def test_scores_of_files_and_of_models(tree: Path, capsys: pytest.CaptureFixture[str]):
    clean = hum(1.0, 16_000)[:, 0]
    noisy = clean + 0.05 * np.random.default_rng(3).standard_normal(len(clean))
    for folder, x in (("clean", clean), ("noisy", noisy), ("better", 0.5 * (clean + noisy))):
        (tree / folder).mkdir()
        soundfile.write(tree / folder / "x.wav", x, 16_000, subtype="FLOAT")
    words = ("--noisy", tree / "noisy", "--metrics", "si_sdr", "--json")
    assert run("score", tree / "better", tree / "clean", *words) == 0
    means = json.loads(capsys.readouterr().out)["means"]
    assert means["enhanced"]["si_sdr"] == pytest.approx(means["noisy"]["si_sdr"] + 6.02, abs=0.1)
    assert run("score", tree / "noisy", tree / "clean", *WIENER, "--metrics", "si_sdr", "--json") == 0
    table = json.loads(capsys.readouterr().out)["means"]
    assert list(table) == ["noisy", "gating", "wiener"]
    (tree / "clean" / "x.wav").rename(tree / "clean" / "y.wav")
    soundfile.write(tree / "clean" / "z.wav", clean, 16_000)
    assert run("score", tree / "noisy", tree / "clean") == 2
    assert "no clean file of the same name" in capsys.readouterr().err


def test_score_agrees_with_pesq_and_pystoi_on_real_recordings(
    tree: Path, real_data: Path, capsys: pytest.CaptureFixture[str]
):
    pesq = pytest.importorskip("pesq", reason="an extra that needs a compiler")
    from pystoi import stoi

    pairs = real_data / "speech" / "vb_train6"
    if not pairs.is_dir():
        pytest.skip("the recordings are not there")
    signals = {}
    for part in ("clean", "noisy"):
        (tree / part).mkdir()
        signals[part], rate = soundfile.read(pairs / part / "p287_001.flac")
        soundfile.write(tree / part / "p287_001.wav", signals[part], rate, subtype="PCM_16")
    words = ("--metrics", "pesq", "--metrics", "stoi", "--json")
    assert run("score", tree / "noisy", tree / "clean", *words) == 0
    means = json.loads(capsys.readouterr().out)["means"]
    (row,) = (means[name] for name in means)
    assert row["pesq"] == pytest.approx(pesq.pesq(rate, signals["clean"], signals["noisy"], "wb"), abs=1e-4)
    assert row["stoi"] == pytest.approx(stoi(signals["clean"], signals["noisy"], rate), abs=1e-6)


def test_segments_of_speech(tree: Path, capsys: pytest.CaptureFixture[str]):
    x = np.concatenate([np.zeros((8000, 1)), hum(1.0, 16_000), np.zeros((16_000, 1))])
    soundfile.write(tree / "talk.wav", x + 1e-4 * np.random.default_rng(0).standard_normal(x.shape), 16_000)
    out = tree / "segments.csv"
    assert run("vad", tree / "talk.wav", "--model", "noisy", "-o", out) == 0
    header, *rows = out.read_text().splitlines()
    assert header == "file,start,end,level_db"
    starts = [float(row.split(",")[-3]) for row in rows]
    ends = [float(row.split(",")[-2]) for row in rows]
    assert starts[0] == pytest.approx(0.5, abs=0.05)
    assert ends[-1] == pytest.approx(1.5, abs=0.1)
    capsys.readouterr()
    soundfile.write(tree / "silence.wav", np.zeros(16_000), 16_000)
    assert run("vad", tree / "silence.wav", "--model", "noisy", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {str(tree / "silence.wav"): []}


def test_models_and_data_are_listed(capsys: pytest.CaptureFixture[str]):
    assert run("models", "--json") == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["models"]] == list(MODELS)
    assert run("data") == 0
    assert "CC BY-SA 3.0" in capsys.readouterr().out


def test_bench_times_models_side_by_side(capsys: pytest.CaptureFixture[str]):
    words = ("--model", "recurrent-mask-tiny", "--model", "gating", "--rounds", "1", "--json")
    assert run("bench", *words) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["model"] for row in rows] == ["recurrent-mask-tiny", "gating"]
    assert rows[0]["delay"] == pytest.approx(32.0)
    assert rows[1]["p99"] is None
    assert all(0 < row["factor"] < 10 for row in rows)


def test_export_refuses_models_of_whole_signals(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("export", tmp_path / "x.onnx", "--model", "gating") == 2
    assert "whole signals" in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()


def test_segments_do_not_depend_on_how_much_is_read_at_once(monkeypatch: pytest.MonkeyPatch):
    from statewise.speech import vad
    from statewise.speech.models import build

    x = np.concatenate([hum(1.0, 16_000), np.zeros((16_000, 1)), hum(1.3, 16_000)])[:, 0].astype(np.float32)
    model = build("wiener")[1]
    whole = vad.find_speech(model, x)
    monkeypatch.setattr(vad, "CHUNK", 0.37)
    assert vad.find_speech(model, x) == whole
    assert len(whole) >= 2
