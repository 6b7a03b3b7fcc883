"""Every notebook runs, each in a fresh kernel, at the smoke profile, within its time."""
import os
import signal
import subprocess
import sys

import nbformat
import pytest
from lessons import NBS, ROOT, name_of, notebooks, run

SECONDS = 240


def run_apart(path, seconds=SECONDS):
    """Run a notebook in a process group of its own, so that at the time limit its kernel goes too."""
    environment = dict(os.environ, EXPR_PROFILE="smoke", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    command = [sys.executable, str(ROOT / "tests" / "lessons.py"), "--check", name_of(path)]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    try:
        output, _ = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{name_of(path)} took more than {seconds} s at the smoke profile; a lesson should take 20 s")
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    return running.returncode, output


@pytest.mark.lesson
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("path", notebooks(), ids=name_of)
def test_runs(path):
    code, output = run_apart(path)
    assert code == 0, f"{name_of(path)} fails:\n{output[-6000:]}"


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
    "button.on_click(lambda _: 1 / 0); button.click()",
    "interactive(lambda x: 1 / x, x=slider).update()",
    "with out: 1 / 0",
    "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)",
], ids=["on_click", "interact", "with_output", "network"])
def test_hidden_errors_are_raised(tmp_path, source):
    """ipywidgets shows an error in a callback and goes on; here it must fail the lesson. The network must be shut."""
    from nbclient.exceptions import CellExecutionError
    with pytest.raises(CellExecutionError, match="ZeroDivisionError|must not use the network"):
        run(notebook(tmp_path, CLICK, source), seconds=60)


@pytest.mark.lesson
def test_run_cleans(tmp_path):
    nb = run(notebook(tmp_path, "import sys; from ipywidgets import IntSlider", "IntSlider()", "print('x', file=sys.stderr)", "6 * 7"), 60)
    assert [len(cell.outputs) for cell in nb.cells] == [0, 0, 0, 1]
    assert nb.cells[3].outputs[0]["data"]["text/plain"] == "42"
    assert "widgets" not in nb.metadata and all(cell.execution_count is None for cell in nb.cells)


def test_there_are_lessons():
    assert notebooks(), f"no notebook in {NBS}"
