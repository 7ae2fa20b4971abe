"""ItalyPowerDemand: three seeds of each network beside ridge regression and a majority vote.

Every finished (method, seed) is kept in a ledger, so that the script can be stopped and started again.
"""

from __future__ import annotations

import time
from statistics import fmean
from typing import Any

import torch

from benchmarks.results import Column, Ledger, Result, Table, data_file, fingerprint, publish, versions
from statewise.timeseries.classify.labelled import LabelledPanel
from statewise.timeseries.classify.methods import ClassifyConfig, build
from statewise.timeseries.classify.reading import read_labelled
from statewise.timeseries.classify.verb import Labelled

NAME = "timeseries/classification"
FILES = ("ItalyPowerDemand_TRAIN.ts", "ItalyPowerDemand_TEST.ts")
SEEDS = {"majority": (0,), "ridge": (0,), "chimera": (0, 1, 2), "s5": (0, 1, 2)}

PROTOCOL = {
    "data": "ItalyPowerDemand as published: 67 series of 24 hours to learn from, 1,029 to judge on",
    "scaling": "mean and deviation of all training values; ridge standardises each hour",
    "networks": "the command's defaults: width 16, two blocks, AdamW, rate 0.003 along a cosine, weight "
    "decay 0.05, noise of deviation 0.1 on the series, 300 passes in batches of 16; the last weights",
    "choice": "nothing was chosen on the test series: the defaults were written down before they were read",
    "threads": "one; seconds are CPU time of a shared machine: an order of magnitude",
}


def main() -> None:
    torch.set_num_threads(1)
    train, test = (read_labelled(str(data_file(f"timeseries/{name}"))) for name in FILES)
    ledger = Ledger(NAME, key=("method", "seed"))
    for name, seeds in SEEDS.items():
        for seed in seeds:
            if ledger.find(method=name, seed=seed) is None:
                ledger.add(measure(name, seed, train, test))
                print(ledger.rows[-1], flush=True)
    found = [ledger.find(method=name, seed=seed) for name, seeds in SEEDS.items() for seed in seeds]
    publish(report([row for row in found if row is not None]))


def measure(name: str, seed: int, train: LabelledPanel, test: LabelledPanel) -> dict[str, Any]:
    method = build(name, ClassifyConfig())
    begin = time.process_time()
    method.fit(train, seed=seed)
    seconds = time.process_time() - begin
    said = Labelled(panel=test, classes=tuple(method.classes), scores=method.scores(test))
    return {"method": name, "seed": seed, "accuracy": said.accuracy, "seconds": round(seconds, 1)}


def report(rows: list[dict[str, Any]]) -> Result:
    table = []
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        hits = [row["accuracy"] for row in own]
        table.append(
            {
                "method": name,
                "accuracy": fmean(hits),
                "least": min(hits),
                "seeds": len(own),
                "seconds": fmean(row["seconds"] for row in own),
            }
        )
    means = {row["method"]: row["accuracy"] for row in table}
    return Result(
        benchmark=NAME,
        title="Classification: ItalyPowerDemand",
        summary=f"Chimera's mean accuracy over three seeds is {means['chimera']:.4f}, that of ridge "
        f"regression {means['ridge']:.4f}: on 67 short series of one variate a network has hardly anything "
        "to add.",
        versions=versions("statewise-core", "statewise-timeseries", "numpy", "torch"),
        protocol=PROTOCOL,
        seeds=(0, 1, 2),
        data=tuple(
            fingerprint(
                data_file(f"timeseries/{name}"),
                origin="UCR archive (timeseriesclassification.com)",
                licence="research use",
            )
            for name in FILES
        ),
        rows=tuple(rows),
        tables=(Table(title="Test accuracy", columns=COLUMNS, rows=tuple(table)),),
    )


COLUMNS = (
    Column(key="method", label="method"),
    Column(key="accuracy", label="accuracy", format=".4f"),
    Column(key="least", label="least of the seeds", format=".4f"),
    Column(key="seeds", label="seeds"),
    Column(key="seconds", label="fit, CPU s", format=".1f"),
)

if __name__ == "__main__":
    main()
