"""Overlay, and the viewer's callbacks (lesson 14c)."""
import io

import numpy as np
import pytest
import torch
from PIL import Image

from expr_course.data.sources import draw_faces, face_numbers
from expr_course.editing import ExpressionEditor
from expr_course.faces import LABELS
from expr_course.networks.msf import MSFUNet
from expr_course.parsing.unet import ParsingUNet, PictureParser
from expr_course.parsing.viewer import ParsingViewer, legend, overlay, shares
from expr_course.plots import color_labels, to_uint8

ipywidgets = pytest.importorskip("ipywidgets")


@pytest.fixture(scope="module")
def face():
    return draw_faces(face_numbers("val", 0, 0, 1), 64)


class Oracle:
    """Knows the answer, and counts how often it is asked."""
    def __init__(self, labels):
        self.labels, self.asked = labels, 0

    def parse(self, image):
        self.asked += 1
        return self.labels if image.shape[-2:] == self.labels.shape else torch.zeros(image.shape[-2:], dtype=torch.long)


@pytest.fixture
def viewer(face):
    return ParsingViewer(Oracle(face["labels"][0]), face["image"][0])


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_overlay(face):
    x, y = face["image"][0], face["labels"][0]
    assert torch.equal(overlay(x, y, ()), x) and torch.equal(overlay(x, y, opacity=0.0), x)
    assert torch.allclose(overlay(x, y, opacity=1.0), color_labels(y)[0])
    hair = overlay(x, y, ("hair",), 0.5)
    there = y == LABELS.index("hair")
    assert torch.equal(hair[:, ~there], x[:, ~there]) and not torch.equal(hair[:, there], x[:, there])
    assert sum(shares(y).values()) == pytest.approx(1)


@pytest.mark.parametrize("given, message", [
    (dict(shown=("beak",)), "no class"),
    (dict(opacity=1.5), "outside 0 to 1"),
    (dict(labels=torch.zeros(3, 3, dtype=torch.long)), "the labels"),
])
def test_overlay_errors(face, given, message):
    with pytest.raises(ValueError, match=message):
        overlay(**dict(image=face["image"][0], labels=face["labels"][0]) | given)


def test_legend_names_what_is_there():
    text = legend({"skin": 0.75, "hair": 0.25, "hat": 0.0})
    assert (
        "skin 75.0 %" in text
        and "hair 25.0 %" in text
        and "hat" not in text
        and text.index("skin") < text.index("hair")
    )


def test_widgets_drive_it(viewer, face):
    first = viewer.images["overlay"].value
    assert not viewer.toggles["background"].value and viewer.parser.asked == 1
    viewer.opacity.value = 1.0
    assert viewer.images["overlay"].value != first
    viewer.none.click()
    assert viewer.shown() == () and np.array_equal(decoded(viewer.images["overlay"].value), to_uint8(face["image"])[0])
    viewer.all.click()
    assert viewer.shown() == LABELS and np.array_equal(
        decoded(viewer.images["overlay"].value), to_uint8(color_labels(face["labels"]))[0]
    )
    viewer.toggles["skin"].value = False
    assert "skin" not in viewer.shown() and viewer.parser.asked == 1, "toggles parse nothing again"


def test_upload_and_errors(viewer):
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40), (200, 150, 120)).save(buffer, "PNG")
    viewer.safely(viewer.take, ({"name": "a.png", "content": buffer.getvalue()},))
    assert "50×40" in viewer.status.value and viewer.error.value == "" and viewer.parser.asked == 2
    shown = viewer.images["overlay"].value
    viewer.safely(viewer.take, ({"name": "notes.txt", "content": b"milk, bread"},))
    assert "alert" in viewer.error.value and viewer.images["overlay"].value == shown
    viewer.opacity.value = 0.9
    assert viewer.error.value == "", "gone once something works"
    with pytest.raises(ZeroDivisionError):
        viewer.safely(lambda: 1 / 0)


def test_with_a_network_and_with_the_editor(face):
    parser = PictureParser(ParsingUNet(2), 32).eval()
    assert ParsingViewer(parser, face["image"][0]).labels.shape == (64, 64)
    assert ParsingViewer(
        ExpressionEditor(MSFUNet(34, 8), parser=parser, device="cpu"), face["image"][0]
    ).labels.shape == (64, 64)
    assert ParsingViewer(parser, face["image"][0]).figure() is not None
