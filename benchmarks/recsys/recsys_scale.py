"""Twenty million events with text ids: prepared, and two hundred optimiser steps, in how much memory.

Each part runs in a process of its own, whose peak of resident memory is read at its end; polars' threads
belong to the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.results import Column, Result, Table, publish, versions

EVENTS, USERS, ITEMS, STEPS = 20_000_000, 1_000_000, 200_000, 200

MAKE = """
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
events, users, items, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
rng = np.random.default_rng(0)
writer = None
for low in range(0, events, 1_000_000):
    n = min(1_000_000, events - low)
    item = (items * rng.random(n) ** 2).astype(np.int64)
    columns = {
        "user_id": pa.array([f"user-{u:07d}" for u in rng.integers(users, size=n).tolist()]),
        "item_id": pa.array([f"item-{v:06d}" for v in item.tolist()]),
        "timestamp": pa.array(1_700_000_000 + rng.integers(10**7, size=n)),
    }
    table = pa.table(columns)
    writer = writer or pq.ParquetWriter(path, table.schema)
    writer.write_table(table)
writer.close()
"""

TAIL = """
import json, resource, time
print(json.dumps({"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  "cpu_s": time.process_time()} | facts))
"""

PREPARE = (
    """
import sys
from statewise.recsys.prepare import prepare
log = prepare(sys.argv[1], sys.argv[2])
facts = {"events": len(log), "users": log.n_users, "items": log.n_items}
"""
    + TAIL
)

TRAIN = (
    """
import sys, numpy as np
from statewise.core.train import FitConfig, fit, seeded
from statewise.recsys.data import read
from statewise.recsys.network.model import Network
from statewise.recsys.network.task import SequenceTask
from statewise.recsys.recipes import recipe
from statewise.recsys.splits import make_split
from statewise.recsys.training import fit_config
from dataclasses import replace
log = read([sys.argv[1]]).log
split = make_split(log)
changes = {"network": {"encoder": {"length": 50}}, "loss": {"name": "sampled", "negatives": 1024}}
made = recipe("causal", changes, n_items=log.n_items)
with seeded(0):
    network = Network(made.network, log.n_items)
task = SequenceTask(network, split, made.objective, made.loss, judged=False)
config = replace(fit_config(made, task.size, threads=1), epochs=None, steps=int(sys.argv[2]), eval_every=None,
                 patience=None)
result = fit(task, config)
facts = {"steps": result.steps, "loss": made.loss.name, "windows": task.size}
"""
    + TAIL
)


def main() -> None:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        file, folder = Path(name) / "events.parquet", Path(name) / "prepared"
        run(MAKE, EVENTS, USERS, ITEMS, file)
        for part, code, words in (
            ("prepare", PREPARE, (file, folder)),
            ("200 steps", TRAIN, (folder, STEPS)),
        ):
            rows.append({"part": part} | json.loads(run(code, *words).splitlines()[-1]))
            print(rows[-1], flush=True)
    peak = max(row["mb"] for row in rows)
    publish(
        Result(
            benchmark="recsys/recsys_scale",
            title="Twenty million events",
            summary=(
                f"{EVENTS:,} events of {USERS:,} users and {ITEMS:,} items with text ids are prepared, and "
                f"{STEPS} optimiser steps done, in at most {peak / 1024:.1f} GB of resident memory."
            ),
            versions=versions("statewise-core", "statewise-recsys", "torch", "polars"),
            protocol={
                "data": "made up: users uniform, items skewed (a square), one parquet file",
                "training": "causal, d 64, 2 blocks, L 50, batch 64, sampled softmax with 1,024 items",
                "memory": "largest resident set of each process (ru_maxrss)",
                "threads": "one for torch and BLAS; polars its own",
            },
            rows=tuple(rows),
            tables=(
                Table(
                    title="Memory and time",
                    columns=(
                        Column(key="part", label="part"),
                        Column(key="mb", label="peak MB", format=".0f"),
                        Column(key="cpu_s", label="CPU s", format=".0f"),
                    ),
                    rows=tuple(rows),
                ),
            ),
            seeds=(0,),
        )
    )


def run(code: str, *words: object) -> str:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
