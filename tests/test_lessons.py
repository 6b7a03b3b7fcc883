"""Every notebook runs, each in a fresh kernel, at the smoke profile, within its time."""
import os
import tempfile

import nbformat
import psutil
import pytest
from lessons import NBS, ROOT, execute, name_of, notebooks, run, scratch_copy

SECONDS = 240


@pytest.fixture
def smoke(monkeypatch):
    """What a kernel finds in its environment."""
    for name, value in {
        "EXPR_PROFILE": "smoke", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)


@pytest.mark.lesson
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("path", notebooks(), ids=name_of)
def test_runs(path, smoke):
    from nbclient.exceptions import CellExecutionError
    try:
        with tempfile.TemporaryDirectory() as folder:
            execute(scratch_copy(path, folder), SECONDS)
    except CellExecutionError as error:
        pytest.fail(f"{name_of(path)} fails:\n{str(error)[-6000:]}", pytrace=False)
    except TimeoutError:
        pytest.fail(
            f"{name_of(path)} took more than {SECONDS} s at the smoke profile; a lesson should take 20 s", pytrace=False
        )


def notebook(folder, *sources):
    path = folder / "probe.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources]), path)
    return path


CLICK = """
from ipywidgets import Button, FloatSlider, Output, interactive
button, slider, out = Button(), FloatSlider(), Output()
"""


@pytest.mark.lesson
@pytest.mark.parametrize("source", [
    "button.on_click(lambda _: 1 / 0); button.click()", "interactive(lambda x: 1 / x, x=slider).update()",
    "with out: 1 / 0", "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)",
], ids=["on_click", "interact", "with_output", "network"])
def test_hidden_errors_are_raised(tmp_path, source):
    """ipywidgets shows an error in a callback and goes on; here it must fail the lesson. The network must be shut."""
    from nbclient.exceptions import CellExecutionError
    with pytest.raises(CellExecutionError, match="ZeroDivisionError|must not use the network"):
        run(notebook(tmp_path, CLICK, source), seconds=60)


@pytest.mark.lesson
def test_run_cleans(tmp_path):
    nb = run(
        notebook(
            tmp_path, "import sys; from ipywidgets import IntSlider", "IntSlider()", "print('x', file=sys.stderr)",
            "6 * 7",
        ),
        60,
    )
    assert [len(cell.outputs) for cell in nb.cells] == [0, 0, 0, 1]
    assert nb.cells[3].outputs[0]["data"]["text/plain"] == "42"
    assert "widgets" not in nb.metadata and all(cell.execution_count is None for cell in nb.cells)


@pytest.mark.lesson
def test_a_kernel_ends_with_its_time(tmp_path):
    """At the time limit the kernel goes, and so does a process that it started."""
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'])"
    start = f"import os, subprocess, sys, time; child = {child}"
    write = "with open('pids', 'w') as file: print(os.getpid(), child.pid, file=file)"
    for seconds in (5, 20, 60):  # a busy machine starts a kernel slowly
        with pytest.raises(TimeoutError, match=f"not done after {seconds} s"):
            run(notebook(tmp_path, start, write, "time.sleep(120)"), seconds)
        if (tmp_path / "pids").is_file():
            break
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2 and not [
        pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ]


def test_there_are_lessons():
    assert notebooks(), f"no notebook in {NBS}"
