"""The face explorer: plain functions first, then every callback on real widgets, without a browser."""
import io
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from expr_course.faces import explorer
from expr_course.action_units import AU_INFO, AUS, au_index
from expr_course.faces.explorer import (
    CHOICES, TITLES, FaceExplorer, State, at_rest, look_at_face, moved_slider, show_face,
)
from expr_course.plots import to_png

ipywidgets = pytest.importorskip("ipywidgets")


@pytest.fixture
def tool():
    return FaceExplorer(number=3, size=32)


@pytest.fixture
def looks(monkeypatch):
    """The states that were drawn, from now on."""
    seen = []
    monkeypatch.setattr(explorer, "look_at_face", lambda state, size: seen.append(state) or look_at_face(state, size))
    return seen


def pictures(tool):
    return {name: image.value for name, image in tool.images.items()}


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


# --- functions ---------------------------------------------------------------------------------------------------

@given(st.sampled_from(AUS), st.floats(0, 1, width=32), st.sampled_from(list(CHOICES)))
def test_moved_sets_only_what_it_names(name, value, side):
    before = State(5, torch.full((17, 2), 0.25))
    after = moved_slider(before, name, value, side)
    expected = torch.full((17, 2), 0.25)
    expected[au_index(name), list(CHOICES[side])] = value
    assert torch.equal(after.aus, expected) and after.number == 5
    assert (before.aus == 0.25).all(), "the old state was changed"


@pytest.mark.parametrize("value", [-0.1, 1.25, float("nan")])
def test_moved_refuses(value):
    with pytest.raises(ValueError, match="AU12"):
        moved_slider(State(), "AU12", value)
    with pytest.raises(ValueError, match="AU13"):
        moved_slider(State(), "AU13", 0.5)
    assert not State().aus.any()


def test_look():
    rest, smile = look_at_face(State(3), 32), look_at_face(moved_slider(State(3), "AU12", 0.9), 32)
    assert torch.equal(rest.face, at_rest(3, 32)[1]) and (rest.change == -1).all()
    assert (
        (smile.change > -1).any() and smile.labels.shape == smile.face.shape == (3, 32, 32) and smile.milliseconds > 0
    )
    assert not smile.face.requires_grad
    assert torch.equal(smile.face, look_at_face(moved_slider(State(3), "AU12", 0.9), 32).face)


def test_look_refuses():
    with pytest.raises(ValueError, match="-1"):
        look_at_face(State(-1), 32)
    with pytest.raises(ValueError, match="16"):
        look_at_face(State(0), 16)


def test_to_png_keeps_every_pixel():
    face = at_rest(3, 32)[1]
    assert np.array_equal(decoded(to_png(face)), ((face * 127.5 + 127.5).round().byte()).permute(1, 2, 0).numpy())


def test_show_views():
    pytest.importorskip("matplotlib")
    assert [ax.get_title() for ax in show_face(look_at_face(State(0), 32)).axes] == list(TITLES.values())


# --- widgets -----------------------------------------------------------------------------------------------------

def test_starts_neutral(tool):
    assert tool.images["face"].value == to_png(at_rest(3, 32)[1])
    assert tool.number.value == 3 and not any(slider.value for slider in tool.sliders.values())
    assert "neutral" in tool.status.value and " ms" in tool.status.value and tool.error.value == ""


def test_sliders_say_what_they_do(tool):
    assert sorted(tool.sliders) == sorted(AUS)
    for name, slider in tool.sliders.items():
        assert slider.description == f"{name} {AU_INFO[name].title}" and slider.tooltip == AU_INFO[name].description
        assert (slider.min, slider.max, slider.step, slider.continuous_update) == (0, 1, 0.05, True)


def test_pictures_have_a_fixed_place(tool):
    for image in tool.images.values():
        assert image.format == "png" and image.layout.width == image.layout.height == "220px"


@pytest.mark.parametrize("name", AUS)
def test_every_slider_changes_the_pictures(tool, name, looks):
    before = pictures(tool)
    tool.sliders[name].set_state({"value": 0.9})      # what a message from the browser calls
    after = pictures(tool)
    assert after["face"] != before["face"] and after["change"] != before["change"]
    assert len(looks) == 1 and name in tool.status.value


def test_labels_follow(tool):
    before = tool.images["labels"].value
    tool.sliders["AU26"].value = tool.sliders["AU25"].value = 1.0
    assert tool.images["labels"].value != before


def test_reset_gives_the_neutral_bytes_and_draws_once(tool, looks):
    before = pictures(tool)
    for name in ("AU12", "AU25", "AU04"):
        tool.sliders[name].value = 0.8
    looks.clear()
    tool.back.click()
    assert pictures(tool) == before and len(looks) == 1
    assert not any(slider.value for slider in tool.sliders.values()) and tool.state.number == 3


@pytest.mark.parametrize("side,column", [("person's left", 0), ("person's right", 1)])
def test_one_side_only(tool, side, column):
    tool.side.value = side
    tool.sliders["AU12"].value = 0.8
    assert tool.state.aus[8, column] == pytest.approx(0.8) and tool.state.aus.sum() == pytest.approx(0.8)
    assert f"AU12{'LR'[column]} 0.8" in tool.status.value


def test_sides_are_remembered(tool, looks):
    tool.side.value = "person's left"
    tool.sliders["AU12"].value = 0.8
    looks.clear()
    tool.side.value = "person's right"
    assert not looks, "the switch changes no picture"
    assert tool.sliders["AU12"].value == 0
    tool.sliders["AU02"].value = 0.6
    assert tool.state.aus[8].tolist() == pytest.approx([0.8, 0]) and tool.state.aus[1].tolist() == pytest.approx(
        [0, 0.6]
    )
    tool.side.value = "both sides"
    assert tool.sliders["AU12"].value == pytest.approx(0.4) and tool.state.aus[8].tolist() == pytest.approx([0.8, 0])
    tool.sliders["AU12"].value = 0.5
    assert tool.state.aus[8].tolist() == pytest.approx([0.5, 0.5])


def test_left_is_on_the_right_of_the_picture(tool):
    tool.side.value = "person's left"
    tool.sliders["AU12"].value = 0.9
    change = decoded(tool.images["change"].value).sum(2)
    assert change[:, 16:].sum() > 10 * change[:, :16].sum()


def test_number_and_random_person_keep_the_expression(tool, looks):
    tool.sliders["AU12"].value = 0.8
    looks.clear()
    tool.number.set_state({"value": 8})
    assert (
        tool.state.number == 8
        and tool.images["face"].value == to_png(look_at_face(tool.state, 32).face)
        and tool.sliders["AU12"].value == 0.8
    )
    tool.other.click()
    assert tool.number.value == tool.state.number not in (3, 8) and len(looks) == 2
    again = FaceExplorer(size=32)
    again.other.click()
    assert again.state.number == tool.state.number, "the same seed, the same people"


def test_errors_are_shown_and_the_tool_goes_back(tool):
    tool.sliders["AU12"].value = 0.8
    before = pictures(tool)
    tool.sliders["AU12"].max = 2
    tool.sliders["AU12"].value = 1.5
    assert "ValueError" in tool.error.value and "AU12" in tool.error.value and "alert" in tool.error.value
    assert (
        pictures(tool) == before
        and tool.sliders["AU12"].value == pytest.approx(0.8)
        and tool.state.aus[8, 0] == pytest.approx(0.8)
    )
    tool.sliders["AU04"].value = 0.5
    assert tool.error.value == "" and pictures(tool) != before


def test_errors_are_escaped(tool):
    tool.safely(tool.choose, -1)
    assert "-1" in tool.error.value and tool.state.number == 3

    def fail():
        raise ValueError("<script>")
    tool.safely(fail)
    assert "<script>" not in tool.error.value and "&lt;script&gt;" in tool.error.value


def test_the_unforeseen_is_shown_and_raised(tool, monkeypatch):
    def fail(*args):
        raise ZeroDivisionError("oh")
    monkeypatch.setattr(explorer, "look_at_face", fail)
    with pytest.raises(ZeroDivisionError):
        tool.sliders["AU12"].value = 0.5
    assert "ZeroDivisionError" in tool.error.value and not tool.quiet
    assert tool.sliders["AU12"].value == 0


def test_shows_itself(tool):
    assert "application/vnd.jupyter.widget-view+json" in tool._repr_mimebundle_()
    assert len(tool.figure().axes) == 3


def test_bad_arguments_are_raised():
    with pytest.raises(ValueError, match="300"):
        FaceExplorer(size=300)


def test_without_ipywidgets(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"expr_course\[lab\]"):
        FaceExplorer(size=32)


# --- two threads: JupyterLab delivers a widget's first message in one, the others in another ------------------------

def at_once(*actions):
    """Run functions at the same moment, each in its own thread, and wait for all."""
    barrier = threading.Barrier(len(actions))
    threads = [threading.Thread(target=lambda action=action: (barrier.wait(), action())) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_two_callbacks_at_once_lose_nothing(tool, monkeypatch):
    monkeypatch.setattr(explorer, "look_at_face", lambda state, size: time.sleep(0.05) or look_at_face(state, size))
    at_once(*[lambda name=name: setattr(tool.sliders[name], "value", 0.5) for name in ("AU04", "AU12", "AU26")])
    assert {name: slider.value for name, slider in tool.sliders.items() if slider.value} == {
        "AU04": 0.5, "AU12": 0.5, "AU26": 0.5,
    }
    assert (tool.state.aus.mean(1) > 0).sum() == 3 and tool.images["face"].value == to_png(
        look_at_face(tool.state, 32).face
    )


@pytest.mark.parametrize("first, stands", [(0.4, 0.0), (0.0, 0.8)], ids=["overtaken", "newer"])
def test_a_reset_and_a_drag_at_once_agree_in_the_end(tool, first, stands):
    """A reset that has to move the slider overtakes a drag that waits; one that has nothing to move there does not."""
    slider = tool.sliders["AU12"]
    slider.value = first
    dragged = threading.Thread(target=lambda: setattr(slider, "value", 0.8))
    with tool.turn:     # the tool is at work
        dragged.start()
        while slider.value != 0.8:
            time.sleep(0.001)
        tool.reset()
    dragged.join(30)
    assert slider.value == stands == pytest.approx(tool.state.aus[AUS.index("AU12"), 0].item())
