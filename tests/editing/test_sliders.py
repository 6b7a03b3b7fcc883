"""The slider tool: every callback, without a browser."""
import io
import sys
from datetime import datetime, UTC

import numpy as np
import pytest
import torch
from PIL import Image
from toy_editor import Counting, network, png

from expr_course.action_units import AUS, EMOTIONS, au_vector, emotion_vector
from expr_course.editing import ExpressionEditor
from expr_course.editing.sliders import SIDE_CHOICES, EditorSliders

pytest.importorskip("ipywidgets")


@pytest.fixture
def editor():
    return Counting(network(), size=32, device="cpu")


@pytest.fixture
def tool(editor):
    return EditorSliders(editor=editor, size=48)


def upload(name, content):
    """What ipywidgets' FileUpload holds."""
    return (
        {
            "name": name, "type": "image/png", "size": len(content), "content": memoryview(content),
            "last_modified": datetime.now(UTC),
        },
    )


def shown(tool, view="after"):
    return np.asarray(Image.open(io.BytesIO(tool.images[view].value)))


# --- callbacks ---------------------------------------------------------------------------------------------------

def test_without_ipywidgets(editor, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"expr_course\[lab\]"):
        EditorSliders(editor=editor)


def test_starts_with_nothing_asked(tool):
    assert set(tool.sliders) == set(AUS) and not tool.wish.any()
    assert (
        np.array_equal(shown(tool), shown(tool, "before"))
        and np.array_equal(shown(tool), shown(tool, "truth"))
        and not shown(tool, "change").any()
    )
    for slider in tool.sliders.values():
        assert (slider.min, slider.max, slider.step, slider.continuous_update) == (-1, 1, 0.05, True) and slider.tooltip
    assert (tool.c.intensity.min, tool.c.intensity.max, tool.c.intensity.value) == (0, 1.25, 1)
    for image in tool.images.values():
        assert image.layout.width and image.layout.height
    assert "AU12 lip corner puller" == tool.sliders["AU12"].description


def test_a_slider_edits_and_reset_undoes(tool):
    before = shown(tool).copy()
    tool.sliders["AU12"].value = 0.8
    assert (
        not np.array_equal(shown(tool), before)
        and torch.allclose(tool.wish, au_vector({"AU12": 0.8}))
        and shown(tool, "change").any()
    )
    assert "ms for the edit" in tool.c.status.value and "alignment" in tool.c.status.value
    tool.c.intensity.value = 0.5
    assert torch.equal(tool.views.after, tool.editor.edit(tool.subject.face, {"AU12": 0.8}, intensity=0.5))
    tool.c.reset.click()
    assert np.array_equal(shown(tool), before) and tool.sliders["AU12"].value == 0 and tool.c.intensity.value == 1


def test_one_edit_per_action(tool):
    """However many sliders move, only the state they end in is computed."""
    def drag():
        tool.sliders["AU01"].value = 0.3
    buttons = [*tool.c.emotions.values(), tool.c.reset, tool.c.person, tool.c.expression]
    for action in (*(button.click for button in buttons), drag):
        before = tool.editor.count
        action()
        assert tool.editor.count == before + 1


def test_nothing_is_sent_twice(tool):
    sent = []
    def count(change):
        sent.append(change["new"])
    tool.images["before"].observe(count, "value")
    tool.sliders["AU12"].value = 0.8
    assert not sent


def test_emotions(tool):
    for name, button in tool.c.emotions.items():
        button.click()
        assert torch.allclose(tool.wish, emotion_vector(name))
        for row, slider in enumerate(tool.sliders.values()):
            assert slider.value == pytest.approx(tool.wish[row, tool.sides()].mean().item(), abs=0.006)
        assert tool.c.side.value == (SIDE_CHOICES[2] if name == "contempt" else SIDE_CHOICES[0])
    assert set(tool.c.emotions) == set(EMOTIONS)


def test_an_emotion_is_a_target_where_the_face_is_known(tool):
    tool.c.expression.click()
    assert tool.subject.aus.any()
    tool.c.emotions["happiness"].click()
    assert torch.allclose(tool.subject.aus + tool.wish, emotion_vector("happiness"))
    tool.take(upload("me.png", png()))
    tool.c.emotions["happiness"].click()
    assert torch.equal(tool.wish, emotion_vector("happiness"))


def test_sides(tool):
    tool.c.side.value = SIDE_CHOICES[1]
    tool.sliders["AU12"].value = 0.8
    assert torch.allclose(tool.wish, au_vector({"AU12L": 0.8}))
    tool.c.side.value = SIDE_CHOICES[2]
    assert tool.sliders["AU12"].value == 0
    tool.sliders["AU12"].value = -0.2
    assert torch.allclose(tool.wish, au_vector({"AU12L": 0.8, "AU12R": -0.2}, relative=True))
    tool.c.side.value = SIDE_CHOICES[0]
    assert tool.sliders["AU12"].value == pytest.approx(0.3) and torch.allclose(
        tool.wish, au_vector({"AU12L": 0.8, "AU12R": -0.2}, relative=True)
    )
    tool.c.reset.click()
    assert not tool.wish.any()


def test_a_network_without_sides():
    tool = EditorSliders(editor=ExpressionEditor(network(17), size=32, device="cpu"), size=48)
    assert tool.c.side.disabled
    tool.c.emotions["contempt"].click()
    assert "one number per AU" in tool.c.error.value
    tool.c.reset.click()
    assert tool.c.error.value == ""


def test_other_people_and_expressions_keep_the_wish(tool):
    tool.sliders["AU12"].value = 0.8
    before, wish = shown(tool, "before").copy(), tool.wish.clone()
    tool.c.person.click()
    assert (
        not np.array_equal(shown(tool, "before"), before)
        and torch.equal(tool.wish, wish)
        and "person 1, neutral" in tool.c.status.value
    )
    tool.c.expression.click()
    assert "person 1, expression 1" in tool.c.status.value and torch.equal(tool.wish, wish)
    for _ in range(70):
        tool.start = tool.start % 63 + 1
    assert 1 <= tool.start <= 63


def test_upload(tool):
    tool.sliders["AU12"].value = 0.8
    tool.c.upload.value = upload("me.png", png((60, 40)))
    assert tool.subject.face.shape == (3, 40, 40) and "me.png" in tool.c.status.value and tool.c.upload.value == ()
    assert (
        tool.boxes["truth"].layout.display == "none"
        and shown(tool, "before").shape == (40, 40, 3)
        and tool.views.truth is None
    )
    tool.c.upload.value = upload("me.png", png((60, 40)))  # the same file again
    tool.c.person.click()
    assert tool.boxes["truth"].layout.display == "" and tool.views.truth is not None


def test_errors_stay_until_something_works(tool):
    before = shown(tool).copy()
    tool.c.upload.value = upload("<b>notes</b>.txt", b"milk, bread")
    assert (
        "ValueError" in tool.c.error.value
        and "not a picture" in tool.c.error.value
        and "<b>notes" not in tool.c.error.value
    )
    assert np.array_equal(shown(tool), before) and tool.c.upload.value == ()
    tool.sliders["AU12"].value = 0.8
    assert tool.c.error.value == "" and not np.array_equal(shown(tool), before)


def test_unexpected_errors_are_shown_and_raised(tool, monkeypatch):
    monkeypatch.setattr(tool.editor, "edit", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tool.sliders["AU12"].value = 0.8
    assert "ZeroDivisionError" in tool.c.error.value


def test_own_picture_and_display(editor):
    tool = EditorSliders(Image.open(io.BytesIO(png((60, 40)))), editor, size=48)
    assert tool.subject.face.shape == (3, 40, 40) and tool.views.truth is None
    assert "application/vnd.jupyter.widget-view+json" in tool._repr_mimebundle_()
    assert len(tool.figure().axes) == 3
    with pytest.raises(ValueError, match="not a picture"):
        EditorSliders(b"milk", editor)
