"""The editor in a real browser: in JupyterLab, and as a page for two people at once."""
import io
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from hands import drag, handle, picture, readout, settled, shoot, until
from PIL import Image

from expr_course.editing.views import MAX_BYTES

pytest.importorskip("anywidget")


def press(page, name):
    page.get_by_role("button", name=name, exact=True).first.click()


def choose(page, path, name="your picture…"):
    with page.expect_file_chooser() as chooser:
        press(page, name)
    chooser.value.set_files(path)


def saved(page, kind):
    """The file that a save button hands over: (name, bytes)."""
    with page.expect_download() as download:
        press(page, kind)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def line_at(page):
    return float(
        page.locator(".expr-stage").first.evaluate("stage => stage.style.getPropertyValue('--at')").rstrip("%")
    )


def ready(page):
    """Both pictures are there, and equal."""
    page.locator(".expr-editor").first.wait_for(timeout=240_000)
    page.locator("img.expr-after").first.wait_for(timeout=60_000)
    until(
        page, lambda: picture(page, "before") == picture(page, "after"),
        lambda: page.get_by_text("drawn person 12, neutral").count() > 0,
    )


@pytest.mark.browser
@pytest.mark.timeout(900)
def test_the_editor_in_jupyterlab(jupyterlab, page, tmp_path):
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("from expr_course.editor import Editor\ntool = Editor()\ntool")],
        metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}},
    )
    nbformat.write(nb, jupyterlab.folder / "editor.ipynb")
    page.set_viewport_size({"width": 1280, "height": 1150})
    jupyterlab.open(page, "editor.ipynb")
    jupyterlab.run_all(page, count=1)
    ready(page)
    start = picture(page, "after")
    sliders_and_history(page, start)
    comparing(page)
    labels_and_code(page)
    files(page, tmp_path)
    uploads(page, tmp_path)
    shoot(page, "editor-lab")


def sliders_and_history(page, start):
    def look():
        return picture(page, "after")
    drag(page, "AU12 ", 40)
    until(
        page, lambda: look() != start, lambda: readout(page, "AU12 ") > 0.3,
        lambda: page.get_by_text("agreement with the truth").count() > 0,
    )
    assert picture(page, "before") == start
    settled(page, "after")
    smile = look()
    press(page, "undo")
    until(page, lambda: look() == start, lambda: readout(page, "AU12 ") == 0)
    press(page, "redo")
    until(page, lambda: look() == smile)
    page.locator(".expr-stage").first.focus()
    page.keyboard.press("Control+z")
    until(page, lambda: look() == start)
    page.keyboard.press("Control+Shift+Z")
    until(page, lambda: look() == smile)
    for _ in range(4):
        handle(page, "AU04 ").press("ArrowRight")  # quick keys: none may be lost or pulled back
    until(page, lambda: readout(page, "AU04 ") == 0.2)
    page.wait_for_timeout(500)
    assert readout(page, "AU04 ") == 0.2, page.locator("[role=alert]").all_inner_texts()
    press(page, "contempt")  # opens the links of two AUs
    until(
        page, lambda: page.locator(".widget-slider", has_text="AU12 right side").count() == 1,
        lambda: readout(page, "AU12 right side") == 0.6, lambda: readout(page, "AU12 left side") == 0,
    )
    press(page, "happiness")
    until(
        page, lambda: page.locator(".widget-slider", has_text="AU12 right side").count() == 0,
        lambda: readout(page, "AU06 ") == 0.8,
    )


def comparing(page):
    press(page, "wipe")
    stage = page.locator(".expr-stage").first
    until(page, lambda: stage.get_attribute("data-mode") == "wipe")
    stage.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert line_at(page) == 60
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 60, steps=4)
    page.mouse.up()
    assert abs(line_at(page) - 25) < 1
    shoot(page, "editor-wipe")
    press(page, "hold")
    until(page, lambda: stage.get_attribute("data-mode") == "hold")
    after = page.locator("img.expr-after").first
    stage.focus()
    page.keyboard.down("Space")
    assert not after.is_visible()
    page.keyboard.up("Space")
    assert after.is_visible()
    press(page, "side by side")


def labels_and_code(page):
    labels = page.locator("img.expr-labels").first
    press(page, "labels")
    until(page, lambda: labels.is_visible(), lambda: labels.get_attribute("src"), seconds=180)
    first = picture(page, "labels")
    handle(page, "opacity").press("Home")
    until(page, lambda: picture(page, "labels") != first)
    press(page, "copy as code")
    code = page.locator(".expr-snippet pre")
    until(page, lambda: code.count() == 2)
    assert (
        "'AU06': 0.8" in code.nth(0).inner_text()
        and code.nth(1).inner_text() == "expr-edit person-12.png edited.png AU06=+0.8 AU12=+0.8 --whole"
    )
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="copy", exact=True).nth(1).click()
    page.get_by_role("button", name="copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == code.nth(1).inner_text()


def files(page, tmp_path):
    name, data = saved(page, "PNG")
    assert name == "person-12-edited.png" and "AU12 +0.80" in Image.open(io.BytesIO(data)).text["Comment"]
    (tmp_path / "run").mkdir()
    given, pixels = saved(page, "input")
    (tmp_path / "run" / given).write_bytes(pixels)
    command = page.locator(".expr-snippet pre").nth(1).inner_text().split()
    subprocess.run(
        [sys.executable, "-m", "expr_course.photos.command", *command[1:]], cwd=tmp_path / "run",
        env=dict(os.environ, PYTHONPATH=str(ROOT)), check=True,
    )
    assert (tmp_path / "run" / "edited.png").read_bytes() == data, (
        "the command on the page does not make the file that the page saved"
    )
    assert saved(page, "GIF")[1][:4] == b"GIF8" and saved(page, "MP4")[1][4:8] == b"ftyp"


def make_uploads(tmp_path):
    Image.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 60).save(tmp_path / "mine.png")
    (tmp_path / "notes.png").write_text("milk, bread")
    (tmp_path / "big.png").write_bytes(bytes(MAX_BYTES + 5_000_000))


def uploads(page, tmp_path):
    make_uploads(tmp_path)
    start = picture(page, "before")
    for name, words in (("notes.png", "not a picture"), ("big.png", "13.0 MB")):
        choose(page, tmp_path / name)
        page.get_by_role("alert").filter(has_text=words).first.wait_for()
        assert picture(page, "before") == start
    choose(page, tmp_path / "mine.png")
    page.get_by_text("mine.png: its centred square, 200 pixels").first.wait_for()
    until(
        page, lambda: page.get_by_role("alert").count() == 0, lambda: picture(page, "before") != start,
        lambda: not page.locator("img.expr-truth").first.is_visible(),
    )


CONTRASTS = """elements => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = rgb => rgb.slice(0, 3).map(value => linear(value / 255))
    .reduce((sum, value, k) => sum + value * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = element => {
    for (; element; element = element.parentElement) {
      const rgb = numbers(getComputedStyle(element).backgroundColor);
      if (rgb.length < 4 || rgb[3] === 1) return rgb;
    }
    return [255, 255, 255];
  };
  return elements.filter(element => element.offsetParent && element.textContent.trim()).map(element => {
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(ground(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
}"""
TEXTS = (".expr-title", ".widget-label", ".widget-readout", ".widget-html-content", ".widget-button:not(:disabled)")


def contrasts(page):
    """Of texts and buttons against what lies behind them, 1 to 21 (WCAG; 4.5 is readable); opacity is left out."""
    found = page.eval_on_selector_all(", ".join(f".expr-editor {text}" for text in TEXTS), CONTRASTS)
    assert len(found) > 40
    return found


# --- as a page ----------------------------------------------------------------------------------------------------

@pytest.fixture
def app(tmp_path):
    """(address, folder of its temporary files) of `make app`."""
    private = tmp_path / "private"
    private.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = dict(
        os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", TMPDIR=str(private),
        IPYTHONDIR=str(private / "ipython"), JUPYTER_RUNTIME_DIR=str(private / "runtime"),
        JUPYTER_CONFIG_DIR=str(private / "config"), JUPYTER_DATA_DIR=str(private / "data"),
    )
    with open(tmp_path / "app.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "expr_course.editor.page", "--no-browser", f"--port={port}"], env=environment,
            cwd=private, stdout=log, stderr=log, start_new_session=os.name != "nt",
        )
    try:
        until_up(f"http://127.0.0.1:{port}/voila/static/voila.js", server, tmp_path / "app.log")
        yield f"http://127.0.0.1:{port}/", private
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
        if os.name != "nt":
            try:
                os.killpg(server.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def until_up(address, server, log, seconds=150):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the app did not start within {seconds} s:\n{log.read_text()[-3000:]}")


@pytest.mark.browser
@pytest.mark.timeout(900)
def test_two_people_and_one_app(app, page, tmp_path):
    address, private = app
    make_uploads(tmp_path)
    page.set_viewport_size({"width": 1280, "height": 1150})
    page.goto(address)
    ready(page)
    before = set(private.rglob("*"))
    other = page.context.browser.new_context(viewport={"width": 420, "height": 900}).new_page()
    other.set_default_timeout(120_000)
    other.goto(address + "?theme=dark")
    ready(other)
    start = picture(page, "before")
    assert picture(other, "before") == start

    sliders_and_history(page, start)
    comparing(page)
    labels_and_code(page)
    assert picture(other, "after") == start, "one person sees what the other did"
    choose(page, tmp_path / "big.png")
    page.get_by_role("alert").filter(has_text="13.0 MB").first.wait_for()
    choose(page, tmp_path / "mine.png")
    page.get_by_text("mine.png: its centred square, 200 pixels").first.wait_for()
    until(page, lambda: picture(page, "before") != start)
    drag(page, "AU26 ", 40)
    until(page, lambda: picture(page, "after") != picture(page, "before"))
    settled(page, "after")
    assert f"AU26={readout(page, 'AU26 '):+g}" in page.locator(".expr-snippet pre").nth(1).inner_text().split()
    shoot(page, "editor-app")
    assert saved(page, "PNG")[0] == "mine-edited.png"

    press(other, "surprise")
    until(other, lambda: readout(other, "AU26 ") == 0.8, lambda: picture(other, "after") != start)
    assert picture(other, "before") == start and other.get_by_text("mine.png").count() == 0, (
        "one person sees what the other uploaded"
    )
    assert page.get_by_text("mine.png: its").count() == 1 and readout(page, "AU26 ") != 0.8
    stage = other.locator(".expr-stage").first.bounding_box()
    assert stage["width"] <= 420 and handle(other, "AU26 ").bounding_box()["x"] < 420, (
        "it does not fit on a narrow screen"
    )
    shoot(other, "editor-narrow")
    least = {theme: min(contrasts(person)) for theme, person in (("light", page), ("dark", other))}
    assert min(least.values()) >= 4.5, f"text that cannot be read: contrast {least}"
    new = [path for path in private.rglob("*") if path not in before and path.is_file() and path.suffix != ".json"]
    assert not [
        path for path in new if b"mine.png" in path.read_bytes() or path.suffix in (".png", ".gif", ".mp4", ".jpg")
    ], new


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_idle_kernels_are_culled(tmp_path):
    """A page of one print, and nobody who uses it: its kernel goes, although the connection file says that it was
    there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = dict(
        os.environ, PYTHONPATH=str(ROOT), TMPDIR=str(tmp_path), JUPYTER_RUNTIME_DIR=str(tmp_path),
        JUPYTER_DATA_DIR=str(tmp_path / "data"), IPYTHONDIR=str(tmp_path / "ipython"),
    )
    words = [f"--port={port}", "--minutes=0.25", "--no-browser"]
    code = f"from expr_course.editor.page import main; main({words}, 'print(6 * 7)')"
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=log, stderr=log)
    def kernels():
        return list(tmp_path.rglob("kernel-*.json"))
    try:
        until_up(f"http://127.0.0.1:{port}/voila/static/voila.js", server, tmp_path / "log")
        assert b"42" in urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=120).read() and len(kernels()) == 1
        end = time.monotonic() + 120
        while kernels() and time.monotonic() < end:
            time.sleep(0.5)
        assert not kernels()
    finally:
        server.terminate()
        server.wait(30)
