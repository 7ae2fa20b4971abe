"""How a backend is chosen, how an operator becomes one node, and how the threads are driven."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections import Counter

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from statewise.core.errors import UnknownNameError, UserError
from statewise.core.ops import OPERATORS, dispatch, explain, linear_scan, threads, use_backend
from statewise.core.ops.dispatch import AUTO, Op


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """An operator that has a reference and a portable implementation only."""
    package = tmp_path / "toy_operator"
    package.mkdir()
    for name in ("__init__", "reference", "portable"):
        (package / f"{name}.py").write_text(f"name = '{name}'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield Op("toy", "toy_operator", ("reference", "portable"))
    del OPERATORS["toy"]
    for name in [name for name in sys.modules if name.startswith("toy_operator")]:
        del sys.modules[name]


def run_python(code: str, **environment: str) -> str:
    """What `code` prints in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_numba_is_the_default_on_a_cpu(monkeypatch):
    monkeypatch.delenv("STATEWISE_BACKEND", raising=False)
    assert explain("linear_scan") == {"backend": "cpu", "reason": "the fastest on cpu"}
    assert OPERATORS["linear_scan"].choose(torch.empty(1)) == "cpu"


def test_use_backend_is_undone_at_the_end_and_after_an_error():
    with use_backend("portable"), use_backend("reference"):
        assert explain("linear_scan")["backend"] == "reference"

    def fail():
        with use_backend("portable"):
            assert explain("linear_scan") == {"backend": "portable", "reason": "chosen by hand"}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert explain("linear_scan")["backend"] == "cpu"


def test_the_environment_chooses_and_the_context_wins_over_it(monkeypatch):
    monkeypatch.setenv("STATEWISE_BACKEND", "portable")
    assert explain("linear_scan")["backend"] == "portable"
    with use_backend("reference"):
        assert explain("linear_scan")["backend"] == "reference"


def test_an_unknown_name_gets_the_nearest_one(monkeypatch):
    with pytest.raises(UnknownNameError, match="did you mean 'portable'"), use_backend("portabel"):
        pass
    monkeypatch.setenv("STATEWISE_BACKEND", "gpus")
    monkeypatch.setattr(dispatch, "_environment", dispatch._environment.__wrapped__)
    for ask in (lambda: explain("linear_scan"), lambda: linear_scan(torch.rand(3), torch.rand(1, 2, 3))):
        with pytest.raises(UnknownNameError, match="did you mean 'gpu'"):
            ask()
    with pytest.raises(UnknownNameError, match="did you mean 'linear_scan'"):
        explain("linear_scam")


def test_a_wish_that_cannot_be_met_is_an_error(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with use_backend("gpu"), pytest.raises(UserError, match="it takes CUDA tensors, these are on cpu"):
        linear_scan(torch.rand(3), torch.rand(1, 2, 3))
    with use_backend("cpu"):
        assert "these are on cuda" in explained_error("cuda")


def explained_error(device):
    with pytest.raises(UserError) as caught:
        explain("linear_scan", device)
    return str(caught.value)


def test_a_slower_path_is_said_once(toy, caplog):
    caplog.set_level(logging.WARNING, logger="statewise")
    with use_backend("cpu"):
        assert [toy.choose(torch.empty(1)) for _ in range(3)] == ["portable"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "toy runs on the backend 'portable': toy has no backend 'cpu'"
    ]


def test_portable_by_design_is_not_a_fallback(toy, caplog):
    caplog.set_level(logging.WARNING, logger="statewise")
    assert toy.choose(torch.empty(1)) == "portable"
    assert "fastest known" in explain("toy")["reason"]
    assert not caplog.records


def test_the_modules_of_a_backend_are_found_by_name(toy):
    assert toy.load("reference", torch.empty(1)).name == "reference"
    assert toy.load(AUTO, torch.empty(1)).name == "portable"


def test_importing_the_operators_imports_neither_numba_nor_triton():
    code = """
        import sys
        import statewise.core.ops
        print([name for name in ("numba", "triton") if name in sys.modules])
    """
    assert run_python(code).strip() == "[]"


def test_without_numba_everything_runs_on_portable_and_says_so_once():
    code = """
        import logging, sys
        logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
        sys.modules["numba"] = None
        import torch
        from statewise.core.ops import depthwise_conv, explain, linear_scan
        a, b = torch.full((1, 3, 2), 0.5, requires_grad=True), torch.ones(1, 3, 2)
        for _ in range(2):
            h, _ = linear_scan(a, b)
            h.sum().backward()
        y, tail = depthwise_conv(b, torch.ones(2, 2))
        print(h[0, :, 0].tolist(), a.grad[0, :, 0].tolist(), explain("linear_scan")["backend"])
        print(y[0, :, 0].tolist(), tail[0, :, 0].tolist(), explain("depthwise_conv")["backend"])
    """
    said, again, scanned, convolved = run_python(code).strip().split("\n")
    assert said.startswith("WARNING linear_scan runs on the backend 'portable': numba does not import")
    assert again.startswith("WARNING depthwise_conv runs on the backend 'portable'")
    assert scanned == "[1.0, 1.5, 1.75] [0.0, 3.0, 3.0] portable"
    assert convolved == "[1.0, 2.0, 2.0] [1.0] portable"


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("size", [(2, 3, 4), (1, 1, 1)])
def test_the_registered_node_is_sound(size):
    """Schema, fake tensors, autograd registration and the dispatch of AOT autograd, by torch's own checks."""
    a, b = torch.rand(size, requires_grad=True), torch.rand(size, requires_grad=True)
    cut = torch.zeros(size[:2], dtype=torch.bool)
    node = torch.ops.statewise.linear_scan.default
    torch.library.opcheck(node, (a, b, torch.rand(size[0], size[2]), cut, False, "cpu"))
    torch.library.opcheck(node, (a, b, None, None, True, "portable"))


def test_a_compiled_graph_holds_one_node_per_direction():
    seen = []

    def count(graph, _):
        targets = (str(node.target) for node in graph.graph.nodes)
        seen.append([target for target in targets if "statewise" in target])
        return make_boxed_func(graph.forward)

    backend = aot_autograd(fw_compiler=count, bw_compiler=count)
    compiled = torch.compile(linear_scan, backend=backend, fullgraph=True)
    a, b = torch.rand(2, 5, 3, requires_grad=True), torch.rand(2, 5, 3)
    compiled(a, b)[0].sum().backward()
    assert seen == [["statewise.linear_scan.default"], ["statewise.linear_scan_backward.default"]]


def test_a_compiled_graph_chooses_when_it_runs(monkeypatch):
    taken = []
    op = OPERATORS["linear_scan"]
    load = op.load
    monkeypatch.setattr(op, "load", lambda name, tensor: taken.append(name) or load(name, tensor))
    compiled = torch.compile(linear_scan, backend="aot_eager", fullgraph=True)
    compiled(torch.rand(3), torch.rand(1, 2, 3))
    assert taken == [AUTO]


def test_a_second_derivative_is_refused_except_by_the_reference():
    a, b = torch.rand(1, 3, 2, requires_grad=True), torch.rand(1, 3, 2)
    first = torch.autograd.grad(linear_scan(a, b)[0].square().sum(), a, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="linear_scan_backward"):
        torch.autograd.grad(first.sum(), a)
    with use_backend("reference"):
        first = torch.autograd.grad(linear_scan(a, b)[0].square().sum(), a, create_graph=True)[0]
        assert torch.autograd.grad(first.sum(), a)[0].abs().sum() > 0


@pytest.mark.parametrize("items", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_item_is_done_once(items, count):
    torch.set_num_threads(count)
    done = Counter()
    threads.over(items, threads.GRAIN * 100, lambda lo, hi: done.update(range(lo, hi)))
    assert done == Counter(range(items))


def test_little_work_stays_on_one_thread():
    torch.set_num_threads(4)
    ranges = []
    threads.over(8, threads.GRAIN, lambda lo, hi: ranges.append((lo, hi)))
    assert ranges == [(0, 8)]


def test_an_error_in_any_thread_reaches_the_caller():
    torch.set_num_threads(2)

    def kernel(lo, hi):
        if lo > 0:
            raise ValueError("in the second range")

    with pytest.raises(ValueError, match="second range"):
        threads.over(2, threads.GRAIN * 2, kernel)


class Scans(torch.utils.data.Dataset):
    """Items computed by the operator, and by two threads of ours, in whatever process asks."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        last = linear_scan(torch.full((2, 9, 4), 0.5), torch.full((2, 9, 4), float(index)))[1]
        torch.set_num_threads(2)  # in a forked worker torch's own threads would hang, ours must not
        threads.over(2, threads.GRAIN * 2, lambda lo, hi: last[lo:hi].numpy().__iadd__(lo))
        torch.set_num_threads(1)
        return last


@pytest.mark.skipif(sys.platform != "linux", reason="fork is the default of DataLoader on Linux only")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_workers_make_their_own_threads():
    scans = Scans()
    here = [scans[index] for index in range(3)]
    assert here[2][1, 0] == here[2][0, 0] + 1
    workers = torch.utils.data.DataLoader(
        scans, batch_size=None, num_workers=1, multiprocessing_context="fork", timeout=60
    )
    for value, wanted in zip(workers, here, strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=0)


def test_written_out_operators_leave_no_node_of_their_own():
    class Running(torch.nn.Module):
        def forward(self, a, b):
            return linear_scan(a, b)[0]

    a, b = torch.rand(3), torch.rand(1, 5, 3)
    with dispatch.written_out():
        program = torch.export.export(Running(), (a, b), strict=False)
    assert not [node for node in program.graph.nodes if "statewise" in str(node.target)]
    torch.testing.assert_close(program.module()(a, b), linear_scan(a, b)[0])
    again = torch.export.export(Running(), (a, b), strict=False)
    assert [node for node in again.graph.nodes if "statewise" in str(node.target)]
