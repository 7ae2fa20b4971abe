"""kill -9 at random moments of a fit given in epochs: resumed, it ends as if it had never been killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize("moments", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_fit_resumes_bit_for_bit(tmp_path: Path, moments: int):
    script = Path(__file__).with_name("killed_fit.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(moments), "7"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    tries = json.loads(done.stdout)
    assert len(tries) == moments
    assert all(one["resumed"] and one["same"] for one in tries), tries
    assert any(one["killed"] and one["step"] for one in tries), f"no kill came after a checkpoint: {tries}"
