"""What an edit looks like: whose face, which picture of a reader's, and what is true."""
import pytest
import torch
from toy_editor import Counting, network, png

from expr_course.action_units import apply_relative, au_vector
from expr_course.data.sources import SEEDS
from expr_course.editing.views import (MAX_BYTES, MAX_SIDE, VIEWS, EditViews, drawn_subject, framed, look_at_edit,
                                       show_edit, uploaded)
from expr_course.faces import render


@pytest.fixture
def editor():
    return Counting(network(), size=32, device="cpu")


def test_a_drawn_subject():
    a, again, b = drawn_subject(0, size=48), drawn_subject(0, size=48), drawn_subject(1, size=48)
    acting = drawn_subject(0, 5, size=48)
    assert torch.equal(a.face, again.face) and not torch.equal(a.face, b.face) and not torch.equal(a.face, acting.face)
    assert not a.aus.any() and acting.aus.any() and int(a.person.keys[0, 0]) in SEEDS["test"]
    assert torch.equal(render(acting.person, acting.aus[None], 48).image[0], acting.face)
    assert (a.text, acting.text) == ("drawn person 0, neutral", "drawn person 0, expression 5")


def test_uploaded_is_the_centred_square():
    subject = uploaded("me.png", png((60, 40)))
    assert subject.face.shape == (3, 40, 40) and subject.person is subject.aus is None and "me.png" in subject.text
    assert uploaded("big.png", png((700, 900))).face.shape == (3, MAX_SIDE, MAX_SIDE)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_uploads_of_every_mode(mode, editor):
    assert look_at_edit(editor, uploaded("x.png", png(mode=mode)), au_vector({"AU12": 1})).after.shape == (3, 40, 40)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "empty"), (b"milk", "not a picture"), (png()[: len(png()) // 2], "damaged"),
        (bytes(MAX_BYTES + 1), "8.0 MB.*smaller"),
    ],
)
def test_uploads_refused(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        uploaded("me.png", data)
    assert str(caught.value).startswith("me.png")


def test_look_at_an_edit(editor):
    subject, wish = drawn_subject(0, 3, size=48), au_vector({"AU12": 1.0, "AU45": -0.5}, relative=True)
    views = look_at_edit(editor, subject, wish, 1.25)
    target, _ = apply_relative(subject.aus[None], wish[None], 1.25)
    assert torch.equal(views.truth, render(subject.person, target, 48).image[0])
    assert torch.equal(views.before, subject.face) and views.milliseconds > 0
    assert torch.equal(views.after, editor.edit(subject.face, wish, intensity=1.25))
    assert any("clipped" in r and "AU12" in r.split(": ")[1] for r in views.remarks)
    assert any("alignment" in r for r in views.remarks)


def test_nothing_asked_is_nothing_to_agree_about(editor):
    still = look_at_edit(editor, drawn_subject(0, 3, size=48), torch.zeros(17, 2))
    assert torch.equal(still.after, still.before) and torch.equal(still.truth, still.before)
    assert not any("alignment" in r for r in still.remarks) and not (still.change + 1).any()


def test_nobody_knows_the_truth_of_a_picture(editor):
    views = look_at_edit(editor, framed(torch.zeros(3, 40, 60), "grey"), au_vector({"AU12": 1.0}))
    assert views.truth is None and views.remarks == ("grey: its centred square, 40 pixels",)


def test_show_an_edit(editor):
    assert set(VIEWS) < set(EditViews._fields)
    for subject in (drawn_subject(0, size=48), framed(torch.zeros(3, 40, 60), "grey")):
        figure = show_edit(look_at_edit(editor, subject, torch.zeros(17, 2)))
        titles = [ax.get_title() for ax in figure.axes]
        assert titles == list(VIEWS.values())[: 4 if subject.person is not None else 3]
