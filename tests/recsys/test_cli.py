"""The `recsys` command from a CSV to recommendations: what it prints, writes and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from statewise.recsys.cli import app
from statewise.recsys.models import BASELINES
from tests.recsys.synthetic import shop

SMALL = ("--width", "8", "--length", "10", "--epochs", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with three runs: lru, causal with features, markov."""
    place = tmp_path_factory.mktemp("shop")
    shop(place / "events.csv")
    lines = ["item_id,kind,title", *(f"{i:05d},k{i % 4},Red toy number {i}" for i in range(20))]
    (place / "items.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = str(place / "events.csv")
    assert run("fit", data, "--model", "lru", "--out", str(place / "lru"), *SMALL) == 0
    text = ("--features", str(place / "items.csv"), "--items", "text")
    assert run("fit", data, *text, "--out", str(place / "text"), *SMALL) == 0
    assert run("fit", data, "--model", "markov", "--out", str(place / "markov")) == 0
    return place


def run(*args: str) -> int:
    return app.run([*args, "--quiet"])


def document(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    capsys.readouterr()
    code = app.run([*args, "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def test_a_fit_writes_a_run_with_the_baselines_beside_the_model(folder: Path):
    scores = json.loads((folder / "lru" / "scores.json").read_text())
    assert [row["method"] for row in scores] == ["lru", *BASELINES]
    page = (folder / "lru" / "report.html").read_text()
    for word in ("markov", "leave-one-out", "fingerprint", "validation"):
        assert word in page
    names = {path.name for path in (folder / "lru").iterdir()}
    assert {"model", "metrics.jsonl", "config.toml", "settings.json", "cases.safetensors"} <= names


def test_the_document_of_a_fit_holds_what_a_program_wants(folder: Path, tmp_path: Path, capsys):
    data = str(folder / "events.csv")
    found = document(capsys, "fit", data, "--model", "popularity", "--out", str(tmp_path / "run"))
    assert found["items"] == 20
    assert len(found["fingerprint"]) == 16
    assert found["scores"][0]["test"]["ndcg@10"] >= 0


def test_recommendations_leave_the_history_out_and_are_the_same_for_one_and_for_all(folder: Path, capsys):
    run_ = str(folder / "lru")
    alone = document(capsys, "recommend", run_, "u003", "-k", "5")
    assert alone["columns"] == ["user", "rank", "item", "score"]
    everyone = document(capsys, "recommend", run_, "-k", "5", "--repeat", "exclude")
    assert {row[0] for row in everyone["rows"]} == {f"u{u:03d}" for u in range(80)}
    events = pl.read_csv(folder / "events.csv", infer_schema=False)
    history = set(events.filter(pl.col("user_id") == "u003")["item_id"])
    mine = [row for row in everyone["rows"] if row[0] == "u003"]
    assert not history & {row[2] for row in mine}
    if not history & {row[2] for row in alone["rows"]}:
        assert [row[2] for row in alone["rows"]] == [row[2] for row in mine]


def test_allow_deny_repeat_and_reasons(folder: Path, tmp_path: Path, capsys):
    (tmp_path / "allow.csv").write_text("item\n00001\n00002\n00003\n", encoding="utf-8")
    (tmp_path / "deny.csv").write_text("item\n00002\nnone\n", encoding="utf-8")
    lists = ("--allow", str(tmp_path / "allow.csv"), "--deny", str(tmp_path / "deny.csv"))
    found = document(
        capsys, "recommend", str(folder / "markov"), "u000", "--repeat", "allow", *lists, "--reasons"
    )
    assert {row[2] for row in found["rows"]} == {"00001", "00003"}
    assert any("not in the catalogue" in note for note in found["notes"])
    assert any("only 2 items may be recommended" in note for note in found["notes"])
    events = pl.read_csv(folder / "events.csv", infer_schema=False)
    history = set(events.filter(pl.col("user_id") == "u000")["item_id"])
    assert {row[4] for row in found["rows"]} - {None} <= history
    only = document(capsys, "recommend", str(folder / "markov"), "u000", "--repeat", "only")
    assert {row[2] for row in only["rows"]} <= history


def test_unknown_users_are_served_from_their_history(folder: Path, tmp_path: Path, capsys):
    rows = ["user_id,item_id,timestamp", "new,00004,1", "new,00005,2", "new,nowhere,3"]
    (tmp_path / "new.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    found = document(
        capsys, "recommend", str(folder / "markov"), "--history", str(tmp_path / "new.csv"), "-k", "1"
    )
    assert found["rows"][0][:3] == ["new", 1, "00006"]
    assert any("1 events of 1 items" in note for note in found["notes"])


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_recommendations_go_to_a_file(folder: Path, tmp_path: Path, name: str, capsys):
    path = tmp_path / name
    found = document(capsys, "recommend", str(folder / "markov"), "-k", "3", "--out", str(path))
    read = pl.read_csv(path, infer_schema=False) if name.endswith("csv") else pl.read_parquet(path)
    assert len(read) == found["count"]
    assert read["item"].str.len_chars().unique().to_list() == [5]


@pytest.mark.parametrize(
    ("args", "pieces"),
    [
        (("recommend", "lru", "u0003"), ("no user 'u0003'", "did you mean 'u00", "fix")),
        (("recommend", "lru", "-k", "0"), ("--k", "1 or more")),
        (("recommend", "nowhere"), ("is not a model directory", "fix")),
        (("recommend", "lru", "--out", "x.xlsx"), (".csv or .parquet",)),
        (("similar", "lru", "0001"), ("no item '0001'", "did you mean '000")),
        (("evaluate", "lru", "--protocol", "sampled"), ("--protocol", "sampled-pop100")),
        (("export", "markov"), ("export a run of a recurrent encoder",)),
        (("export", "text"), ("reads whole windows", "choose a recurrent encoder")),
        (("add-items", "lru", "items.csv"), ("by their ids alone", "--items text")),
        (("add-items", "text", "items.csv"), ("holds no new item",)),
        (("compare", "lru", "events.csv"), ("holds no figures by user",)),
        (("fit", "--resume", "nowhere"), ("is not a run directory",)),
    ],
)
def test_mistakes_end_in_2_with_a_fix(folder: Path, capsys, monkeypatch, args, pieces):
    monkeypatch.chdir(folder)
    assert run(*args) == 2
    message = capsys.readouterr().err
    for piece in pieces:
        assert piece in message


def test_sampled_figures_are_labelled(folder: Path, capsys):
    assert app.run(["evaluate", str(folder / "markov"), "--protocol", "sampled-pop100"]) == 0
    out = capsys.readouterr().out
    assert "NOT comparable with full ranking" in out
    found = document(capsys, "evaluate", str(folder / "lru"))
    fitted = json.loads((folder / "lru" / "scores.json").read_text())
    for mine, theirs in zip(found["scores"], fitted, strict=True):
        assert mine["test"]["ndcg@10"] == pytest.approx(theirs["test"]["ndcg@10"], abs=1e-9)


def test_compare_puts_intervals_around_the_means(folder: Path, capsys):
    found = document(capsys, "compare", str(folder / "lru"), str(folder / "markov"))
    for row in found["rows"]:
        assert row["low"] <= row["mean"] <= row["high"]
        assert 0 < row["p"] <= 1
    assert found["rows"][0]["difference"] == 0


def test_similar_items_by_vectors_and_by_counts(folder: Path, capsys):
    for name in ("lru", "markov"):
        found = document(capsys, "similar", str(folder / name), "00003", "--k", "4")
        items = [row[1] for row in found["rows"]]
        assert len(items) == 4
        assert "00003" not in items
    assert items[0] == "00004"  # what comes next is what markov counts


def test_a_refit_has_nothing_left_to_be_judged_by(folder: Path, tmp_path: Path, capsys):
    out = str(tmp_path / "live")
    assert document(capsys, "refit", str(folder / "lru"), "--out", out, "--epochs", "1")["model"] == "lru"
    assert run("recommend", out, "u000") == 0
    assert run("evaluate", out) == 2
    assert "was fitted on all events" in capsys.readouterr().err


def test_new_items_rank_by_their_words(folder: Path, tmp_path: Path, capsys):
    rows = ["item_id,kind,title", "new-1,k3,Red toy number 3", "new-2,k1,Blue thing"]
    (tmp_path / "new.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    out = str(tmp_path / "more")
    assert (
        document(capsys, "add-items", str(folder / "text"), str(tmp_path / "new.csv"), "--out", out)["added"]
        == 2
    )
    found = document(capsys, "similar", out, "new-1", "--k", "3")
    assert found["rows"][0][1] == "00003"  # the same words: the same vector
    assert found["rows"][0][2] == pytest.approx(1.0, abs=1e-5)
    before = document(capsys, "recommend", str(folder / "text"), "u000", "-k", "20")["rows"]
    after = document(capsys, "recommend", out, "u000", "-k", "22")["rows"]
    known = [row for row in after if not row[2].startswith("new")]
    assert [row[2] for row in known] == [row[2] for row in before]
    assert len(after) == len(before) + 2


@pytest.mark.slow
def test_an_exported_step_says_what_the_model_says(folder: Path, tmp_path: Path):
    import onnxruntime

    from statewise.recsys.saved import load_recommender

    assert run("export", str(folder / "lru"), "--out", str(tmp_path)) == 0
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx", providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["statewise"])
    items = load_file(tmp_path / "items.safetensors")
    state = {port["input"]: np.full(port["shape"], port["initial"], port["dtype"]) for port in facts["state"]}
    one = load_recommender(folder / "lru")
    history = one.log.histories().row(0)
    for code in history:
        y, *following = session.run(None, {"x": items["inputs"][[code]]} | state)
        state = dict(zip(state, following, strict=True))
    expected = one.scorer.scores(one.log.histories(np.array([0])))
    assert np.allclose(y @ items["outputs"].T + items["bias"], expected, atol=1e-4)


def test_a_blend_is_chosen_on_validation_and_kept(folder: Path, tmp_path: Path, capsys):
    data, out = str(folder / "events.csv"), str(tmp_path / "mixed")
    found = document(capsys, "fit", data, "--blend", "markov", "--blend", "ease", "--out", out, *SMALL)
    assert found["scores"][0]["method"] == "causal + markov + ease"
    alone = [row["valid"]["ndcg@10"] for row in found["scores"] if row["method"] in ("markov", "ease")]
    assert found["scores"][0]["valid"]["ndcg@10"] >= max(alone) - 0.02
    assert document(capsys, "recommend", out, "u001", "-k", "2")["count"] == 2
    again = document(capsys, "evaluate", out)["scores"][0]["test"]
    assert again["ndcg@10"] == pytest.approx(found["scores"][0]["test"]["ndcg@10"], abs=1e-6)


def test_a_killed_fit_goes_on_to_the_same_weights(tmp_path: Path):
    """`kill -9` in the middle, then --resume: bit for bit what the uninterrupted fit has."""
    data = str(shop(tmp_path / "events.csv", users=200))
    words = ["fit", data, "--model", "lru", "--width", "16", "--epochs", "8", "--threads", "1", "--quiet"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert app.run([*words, "--out", str(whole)]) == 0
    program = "import sys; from statewise.recsys.cli import app; sys.exit(app.run(sys.argv[1:]))"
    child = subprocess.Popen(
        [sys.executable, "-c", program, *words, "--out", str(cut)], stdout=subprocess.DEVNULL
    )
    metrics = cut / "metrics.jsonl"
    for _ in range(6_000):
        if metrics.exists() and metrics.read_text().count("\n") >= 3:
            break
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not (cut / "model").exists()
    assert app.run(["fit", "--resume", str(cut), "--quiet"]) == 0
    one, other = (load_file(path / "weights.safetensors") for path in (whole, cut))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_resumed_fit_refuses_other_data(folder: Path, tmp_path: Path, capsys):
    data = shop(tmp_path / "events.csv", users=30)
    assert run("fit", str(data), "--model", "markov", "--out", str(tmp_path / "run")) == 0
    shop(data, users=30, seed=1)
    assert run("fit", "--resume", str(tmp_path / "run")) == 2
    assert "began with other data" in capsys.readouterr().err


def test_next_periods_come_in_parts(tmp_path: Path, capsys):
    data = str(shop(tmp_path / "events.csv"))
    words = ("--model", "personal", "--split", "next-period", "--period", "day", "--repeat", "allow")
    found = document(capsys, "fit", data, *words, "--out", str(tmp_path / "run"))
    row = found["scores"][0]
    assert {"repeat", "novel"} <= set(row)
    assert row["repeat"]["cases"] + row["novel"]["cases"] >= row["test"]["cases"]


def test_standard_input_is_read_by_its_hyphen(folder: Path, tmp_path: Path):
    words = [sys.executable, "-m", "statewise.recsys.cli", "fit", "-", "--model", "markov", "--json"]
    with (folder / "events.csv").open("rb") as stream:
        done = subprocess.run(
            [*words, "--out", str(tmp_path / "run")], stdin=stream, capture_output=True, check=True
        )
    assert json.loads(done.stdout)["users"] == 80
    assert run("fit", "--resume", str(tmp_path / "run")) == 2


def test_the_lists_of_models_and_data(capsys):
    names = {row["name"] for row in document(capsys, "models")["models"]}
    assert {"causal", "bidir", "sasrec-plus", "bert4rec", "lru", "mamba2", "hybrid", "markov"} <= names
    assert "ml-1m" in document(capsys, "data")["datasets"]


def test_help_waits_for_nothing_heavy():
    program = (
        "import sys; from statewise.recsys.cli import app; app.run(['fit', '--help']); "
        "heavy = {'torch', 'polars', 'scipy', 'numba', 'matplotlib'} & set(sys.modules); "
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--blend" in done.stdout
