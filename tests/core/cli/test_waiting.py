"""The threads of torch are told to sleep soon, in programs that leave it to us."""

from __future__ import annotations

import os
import subprocess
import sys

from statewise.core.cli.waiting import TURNS, VARIABLES, let_threads_sleep


def test_the_user_is_left_to_decide():
    for chosen in ({"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}):
        environment = dict(chosen)
        let_threads_sleep(environment)
        assert environment == chosen


def test_a_program_says_it_before_torch_is_imported():
    code = (
        "import os, sys; from statewise.core.cli.app import App; app = App('x', summary='.', version='1');"
        "app.run(['--version']); print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    )
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean)
    assert done.stdout.splitlines()[-1] == f"False {TURNS}"
