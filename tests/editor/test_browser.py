"""JupyterLab from this environment, in a real browser."""
import nbformat
import pytest


@pytest.mark.browser
def test_a_notebook_runs_in_jupyterlab(jupyterlab, page):
    cells = [
        "from ipywidgets import IntSlider, Label, VBox, jslink",
        "slider, label = IntSlider(value=6, max=9), Label('?')",
        "slider.observe(lambda change: setattr(label, 'value', f'answer {7 * change.new}'), 'value')",
        "VBox([slider, label])",
    ]
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}},
    )
    nbformat.write(nb, jupyterlab.folder / "hello.ipynb")
    jupyterlab.open(page, "hello.ipynb")
    jupyterlab.run_all(page, count=len(cells))
    handle = page.locator(".noUi-handle").first
    handle.wait_for()
    handle.press("ArrowRight")
    page.get_by_text("answer 49").wait_for()
