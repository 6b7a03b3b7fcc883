"""The editor's sliders, which open and close their links, and its small pictures."""
import pytest
import torch

from expr_course.action_units import AUS
from expr_course.editor.panel import TILES, Row, Tiles, slider_panel
from expr_course.editor.state import Edit, moved, opened
from expr_course.plots import to_png

w = pytest.importorskip("ipywidgets")


def hears(widget, action, least):
    """As a tool does it (lesson 02p), without its lock."""
    widget.observe(lambda change: abs(change["new"] - change["old"]) > least and action(widget.value), "value")


def test_rows_follow_edits():
    moves = []
    rows, _ = slider_panel(w, True, hears, lambda *a: moves.append(a), moves.append)
    assert list(rows) == list(AUS)
    row = rows["AU12"]
    assert (
        row.both.tooltip.startswith("the mouth corners go up")
        and "FACS E" in row.both.tooltip
        and row.both.description == "AU12 lip corner puller"
    )
    row.follow(moved(Edit(), "AU12", 0.4))
    assert moves == [("AU12", 0.4)] and row.both.value == 0.4
    row.follow(moved(opened(Edit(), "AU12"), "AU12R", 0.7))
    left, right = row.pair
    assert row.widget.children[0] is row.inside and (left.value, right.value) == (0, 0.7) and row.link.icon == "unlink"
    left.value = -0.5
    assert moves[-1] == ("AU12L", -0.5)
    row.follow(Edit())
    assert row.widget.children[0] is row.both and row.both.value == 0 and row.link.icon == "link"
    row.link.click()
    assert moves[-1] == "AU12"


def test_without_sides_there_is_no_link():
    row = Row(w, "AU12", False, hears, lambda *a: None, lambda *a: None)
    assert row.link.disabled


def test_tiles_show_hide_and_send_nothing_twice():
    tiles, sent = Tiles(w), []
    assert list(tiles.images) == list(tiles.places) == list(TILES)
    tiles.images["change"].observe(lambda change: sent.append(change["new"]), "value")
    face = torch.zeros(3, 8, 8)
    for _ in range(2):
        tiles.show("change", face)
    assert sent == [to_png(face)] and tiles.places["change"].layout.display == ""
    tiles.show("change", None)
    assert tiles.places["change"].layout.display == "none" and tiles.images["change"].value == to_png(face)
