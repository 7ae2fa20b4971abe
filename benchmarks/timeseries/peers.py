"""neuralforecast, run on a CSV file in an environment of its own.

    uv venv peers
    uv pip install --python peers/bin/python neuralforecast
    peers/bin/python -P benchmarks/timeseries/peers.py accuracy CSV MODEL SECONDS
    peers/bin/python -P benchmarks/timeseries/peers.py start CSV OUT [STEPS]

The CSV is long: unique_id, ds, y. `accuracy` trains for some seconds of CPU time and forecasts from every
origin of the test rows; it prints JSON. `start` is the shortest script from a CSV to a forecast that a person
would write, with the training steps of the package or a number of them.
"""

# its packages are not in this environment
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import json
import os
import sys
import time
from importlib import metadata

os.environ["OMP_NUM_THREADS"] = "1"

LOOKBACK, HORIZON, HELD_OUT = 336, 96, 2880


def start(csv, out, steps=None):
    import pandas
    from neuralforecast import NeuralForecast
    from neuralforecast.models import NLinear

    limit = {} if steps is None else {"max_steps": int(steps)}
    table = pandas.read_csv(csv, parse_dates=["ds"])
    forecast = NeuralForecast(models=[NLinear(h=24, input_size=168, **limit)], freq="h")
    forecast.fit(table)
    forecast.predict().to_csv(out, index=False)


def accuracy(csv, name, seconds):
    import logging

    import numpy as np
    import pandas
    import torch
    from neuralforecast import NeuralForecast, models
    from neuralforecast.losses.pytorch import MSE
    from pytorch_lightning.callbacks import Callback

    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Budget(Callback):
        """Stops training after some CPU time; the package copies it, so that the class keeps the figures."""

        def on_train_start(self, trainer, module):
            Budget.begin = time.process_time()

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            Budget.spent, Budget.steps = time.process_time() - Budget.begin, trainer.global_step
            trainer.should_stop = Budget.spent > float(seconds)

    table = pandas.read_csv(csv, parse_dates=["ds"])
    model = getattr(models, name)(
        h=HORIZON,
        input_size=LOOKBACK,
        loss=MSE(),
        max_steps=10**6,
        val_check_steps=10**6,
        random_seed=1,
        alias="made",
        callbacks=[Budget()],
        enable_progress_bar=False,
        enable_checkpointing=False,
        logger=False,
    )
    begin = time.process_time()
    made = NeuralForecast(models=[model], freq="h").cross_validation(
        table, val_size=HELD_OUT, test_size=HELD_OUT, n_windows=None, step_size=1
    )
    missed = (made["made"] - made["y"]).to_numpy()
    print(
        json.dumps(
            {
                "mse": float(np.mean(missed**2)),
                "mae": float(np.mean(np.abs(missed))),
                "windows": int(made["cutoff"].nunique()),
                "steps": int(Budget.steps),
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "fit_seconds": round(Budget.spent, 1),
                "all_seconds": round(time.process_time() - begin, 1),
                "versions": {one: metadata.version(one) for one in ("neuralforecast", "torch")},
            }
        )
    )


if __name__ == "__main__":
    {"start": start, "accuracy": accuracy}[sys.argv[1]](*sys.argv[2:])
