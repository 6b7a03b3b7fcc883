"""Shared by the tests: how many cases a property is tried with, a browser, a running JupyterLab."""
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SOAK = os.environ.get("EXPR_SOAK") == "1"

settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("soak", max_examples=1000, deadline=None)
settings.load_profile("soak" if SOAK else "quick")


@pytest.fixture(scope="session")
def cases():
    """cases(quick, many): how many damaged inputs a test tries, few in `make test`, many in `make soak`."""
    return lambda quick, many: many if SOAK else quick


def load_setup():
    """.ci/setup.py as a module."""
    spec = importlib.util.spec_from_file_location("course_setup", ROOT / ".ci" / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup():
    return load_setup()


# --- a real browser ----------------------------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium", r"C:\Program Files\Google\Chrome\Application\chrome.exe",
)
FLAGS = [
    "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
]


def find_browser():
    """Path of Chromium or Chrome on this machine, or None."""
    named = [os.environ.get("EXPR_BROWSER")] + [shutil.which(name) for name in BROWSERS]
    return next((path for path in named + [place for place in PLACES if Path(place).exists()] if path), None)


@pytest.fixture
def page():
    """A page of a real browser (Playwright). Skips without one; with EXPR_REQUIRE_BROWSER=1 that is a failure."""
    path = find_browser()
    if not path:
        remedy = "no Chromium or Chrome found: install one (Debian: apt install chromium) or name it in EXPR_BROWSER"
        pytest.fail(remedy) if os.environ.get("EXPR_REQUIRE_BROWSER") == "1" else pytest.skip(remedy)
    from playwright.sync_api import sync_playwright

    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS + as_root)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)  # a busy machine starts a kernel slowly
        yield page
        browser.close()


PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent)"
READY = """() => document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'
           && /Python/.test(document.querySelector('.jp-Toolbar-kernelName')?.textContent)"""


@dataclass
class Lab:
    """A running JupyterLab. folder: what it serves; put notebooks there."""

    folder: Path
    url: str
    token: str

    def open(self, page, notebook):
        """Open a notebook alone, without the side bars, and wait until its kernel is idle."""
        page.goto(f"{self.url}doc/tree/{notebook}?token={self.token}&reset")
        page.locator(".jp-Notebook").first.wait_for()
        page.wait_for_function(READY)

    def run_all(self, page, count=None):
        """Run all cells and wait until the kernel is idle again. count: of code cells, waits until that many were
        run."""
        for _ in range(10):  # a click that comes before the notebook listens does nothing
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            try:
                page.wait_for_function(f"({PROMPTS}).some(text => /[*\\d]/.test(text))", timeout=5_000)
                break
            except Exception as error:
                if type(error).__name__ != "TimeoutError":
                    raise
            question = page.locator(".jp-Dialog .jp-mod-accept")  # "Select Kernel": asked while the kernel still starts
            if question.count():
                question.first.click()
        if count:
            page.wait_for_function(
                f"count => ({PROMPTS}).filter(text => /\\d/.test(text)).length >= count", arg=count, timeout=240_000
            )
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for(
            state="attached", timeout=240_000
        )


@pytest.fixture
def jupyterlab(tmp_path, setup):
    """JupyterLab, started as `make course` starts it, on an empty folder: a Lab."""
    folder, private = tmp_path / "lab", tmp_path / "jupyter"
    folder.mkdir()
    environment = dict(
        os.environ, PYTHONPATH=str(ROOT), EXPR_PROFILE="smoke", OMP_NUM_THREADS="1",
        IPYTHONDIR=str(private / "ipython"), JUPYTER_RUNTIME_DIR=str(private / "runtime"),
        JUPYTER_CONFIG_DIR=str(private / "config"), JUPYTER_DATA_DIR=str(private / "data"),
        JUPYTERLAB_WORKSPACES_DIR=str(private / "workspaces"),
    )
    command = setup.lab_command(sys.executable, folder, browser=False) + ["--ServerApp.port=0"]
    with open(tmp_path / "jupyter.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=os.name != "nt")
    try:
        info = wait_for_server(private / "runtime", server, tmp_path / "jupyter.log")
        yield Lab(folder, info["url"], info["token"])
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
        if os.name != "nt":
            try:
                os.killpg(server.pid, signal.SIGKILL)  # kernels that outlived it
            except ProcessLookupError:
                pass


def wait_for_server(runtime, server, log, seconds=150):
    """What JupyterLab says about itself, once it answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            try:
                info = json.loads(file.read_text())
                urllib.request.urlopen(f"{info['url']}api?token={info['token']}", timeout=5).close()
                return info
            except (OSError, ValueError):
                pass
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start within {seconds} s:\n{log.read_text()[-3000:]}")
