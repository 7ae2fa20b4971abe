from __future__ import annotations

import subprocess
import sys


def modules_after(program: str) -> set[str]:
    program += "\nimport sys\nprint(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_a_configuration_and_a_saved_model_need_no_torch():
    seen = modules_after(
        "from statewise.core.train import FitConfig, FitResult, load_model; FitConfig(epochs=1)"
    )
    assert not {"torch", "lightning_fabric"} & seen


def test_a_plain_fit_imports_neither_fabric_nor_the_compiler(toy):
    seen = modules_after(
        f"import runpy\ntoy = runpy.run_path({toy.__file__!r})\n"
        "from statewise.core.train import FitConfig, fit\n"
        "fit(toy['Toy'](), FitConfig(epochs=1))"
    )
    assert "torch" in seen
    assert not {"lightning_fabric", "torch._dynamo", "torch.utils.tensorboard", "torchvision"} & seen


def test_every_name_of_the_package_is_there():
    import statewise.core.train as train

    assert all(getattr(train, name) is not None for name in train.__all__)
    assert train.__all__ == sorted(train.__all__)
