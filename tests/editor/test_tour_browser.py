"""The tour in a real browser: open, run all, drag a smile, take it back."""
import re
import shutil

import nbformat
import pytest
from hands import drag, handle, picture, readout, settled, shoot, until
from lessons import NBS, code_cells, read
from PIL import Image


def press(page, name, text):
    """Press a button until a text stands there: a row that opens above it moves it away under the mouse."""
    for _ in range(6):
        page.get_by_role("button", name=name, exact=True).first.click()
        try:
            return page.get_by_text(text).first.wait_for(timeout=20_000)
        except Exception as error:
            if type(error).__name__ != "TimeoutError":
                raise
    raise AssertionError(f"{name!r} was pressed, and no {text.pattern!r} came")


def upload(page, path):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="your picture").first.click()
    chooser.value.set_files(path)


@pytest.mark.browser
@pytest.mark.timeout(600)
def test_the_tour(jupyterlab, page, tmp_path):
    shutil.copy(NBS / "00_tour.ipynb", jupyterlab.folder)
    page.set_viewport_size({"width": 1280, "height": 1000})
    jupyterlab.open(page, "00_tour.ipynb")
    jupyterlab.run_all(page, count=len(code_cells(read(NBS / "00_tour.ipynb"))))
    assert page.get_by_text("Traceback (most recent call last)").count() == 0
    page.locator("img.expr-after").first.scroll_into_view_if_needed()
    drag_a_smile(page)
    own_picture(page, tmp_path)
    page.set_viewport_size({"width": 900, "height": 1000})
    page.locator("img.expr-before").first.scroll_into_view_if_needed()
    assert handle(page, "AU12 ").bounding_box()["x"] < 900
    shoot(page, "tour-narrow")


def drag_a_smile(page):
    def look(view):
        return picture(page, view)
    until(page, lambda: look("before") == look("after"))
    start, truth = look("after"), look("truth")
    shoot(page, "tour-start")
    drag(page, "AU12 ", 60)
    until(page, lambda: look("after") != start, lambda: look("truth") != truth, lambda: readout(page, "AU12 ") > 0.3)
    assert look("before") == start
    page.get_by_text("ms for the edit").first.wait_for()
    settled(page, "after")
    shoot(page, "tour-smile")

    page.get_by_role("button", name="reset", exact=True).first.click()
    until(page, lambda: look("after") == start, lambda: look("truth") == truth, lambda: readout(page, "AU12 ") == 0)

    handle(page, "AU12 ").press("ArrowRight")  # the keyboard works too, one step of 0.05
    until(page, lambda: look("after") != start, lambda: readout(page, "AU12 ") == 0.05)

    page.get_by_role("button", name="contempt", exact=True).first.click()
    page.wait_for_function("document.querySelector('.widget-toggle-button.mod-active')?.textContent.includes('right')")
    press(page, "another person", re.compile(r"drawn person [1-9]\d*, neutral"))
    until(page, lambda: look("before") != start)


def own_picture(page, tmp_path):
    def look(view):
        return picture(page, view)
    Image.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 60).save(tmp_path / "mine.png")
    (tmp_path / "notes.png").write_text("milk, bread")
    start = look("before")
    upload(page, tmp_path / "notes.png")
    page.get_by_role("alert").filter(has_text="notes.png").first.wait_for()
    assert look("before") == start

    upload(page, tmp_path / "mine.png")
    page.get_by_text("mine.png: its centred square, 200 pixels").first.wait_for()
    until(
        page, lambda: page.get_by_role("alert").count() == 0, lambda: look("before") != start,
        lambda: not page.locator("img.expr-truth").first.is_visible(),
    )
    after = look("after")
    drag(page, "AU26 ", 50)
    until(page, lambda: look("after") != after, lambda: readout(page, "AU26 ") > 0.3)
    shoot(page, "tour-own")


SLOW = """
import time
from expr_course.editing.sliders import EditorSliders
class Slow(type(sliders.editor)):
    edits = 0
    def edit(self, *args, **more):
        Slow.edits += 1
        time.sleep(0.3)
        return super().edit(*args, **more)
sliders.editor.__class__ = Slow
"""


@pytest.mark.browser
@pytest.mark.timeout(400)
def test_a_slow_editor_shows_the_newest_state(jupyterlab, page):
    """However far the hand is ahead, the picture ends where the slider ends, and few of the positions are computed."""
    cells = [
        "from expr_course.editing.sliders import EditorSliders\nsliders = EditorSliders()",
        SLOW,
        "sliders",
        "from ipywidgets import Button, HTML, HBox\nask, told = Button(description='count'), HTML()\n"
        "ask.on_click(lambda _: setattr(told, 'value', f'{Slow.edits} edits, {sliders.wish.max():.2f}'))\n"
        "HBox([ask, told])",
    ]
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}},
    )
    nbformat.write(nb, jupyterlab.folder / "slow.ipynb")
    jupyterlab.open(page, "slow.ipynb")
    jupyterlab.run_all(page, count=len(cells))
    drag(page, "AU12 ", 70, steps=60)
    end = readout(page, "AU12 ")
    told = page.locator(".widget-html-content", has_text="edits, ")

    def arrived():  # the last positions of the slider may still be on their way when the button is pressed
        page.get_by_role("button", name="count", exact=True).click()
        return told.count() and told.inner_text().endswith(f" {end:.2f}")

    until(page, arrived)
    edits = int(told.inner_text().split()[0])
    assert 1 <= edits <= 12, f"{edits} edits of 0.3 s for one drag: a queue of old positions was worked through"
