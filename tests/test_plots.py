"""Pictures, labels and differences as a person sees them: conversions, colours, layouts, refusals (lesson 02)."""
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expr_course import plots
from expr_course.plots import HEAT, PALETTE, color_labels, contact_sheet, difference, show_images, to_pil, to_uint8


def picture(n=2, size=16, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# ---- bytes ----

def test_every_byte_survives():
    values = torch.arange(256.0)
    assert (to_uint8((values / 127.5 - 1).expand(3, 1, 256))[0, 0, :, 0] == np.arange(256)).all()


@given(st.floats(-1, 1))
def test_rounding_is_to_the_nearest_and_half_to_even(x):
    value = torch.full((3, 1, 1), x)
    exact = float(value[0, 0, 0] * 127.5 + 127.5)
    assert to_uint8(value)[0, 0, 0, 0] == np.round(exact)


def test_half_rounds_to_even():
    halves = torch.tensor([(k + 0.5) / 127.5 - 1 for k in (126, 127)], dtype=torch.float64).float()
    exact = (halves * 127.5 + 127.5).tolist()
    assert exact == [126.5, 127.5]
    assert to_uint8(halves.expand(3, 1, 2))[0, 0, :, 0].tolist() == [126, 128]


def test_outside_is_clipped_and_shapes():
    assert to_uint8(torch.tensor([-9.0, 9.0, float("inf")]).expand(3, 1, 3))[0, 0, :, 0].tolist() == [0, 255, 255]
    assert to_uint8(picture()).shape == (2, 16, 16, 3) and to_uint8(picture()[0]).shape == (1, 16, 16, 3)
    grey = to_uint8(picture()[:, :1])
    assert grey.shape == (2, 16, 16, 3) and (grey[..., 0] == grey[..., 2]).all()
    assert to_uint8(picture().requires_grad_().half()).dtype == np.uint8


@pytest.mark.parametrize(
    "bad, says",
    [
        (torch.zeros(4, 4), "4×4"), (torch.zeros(2, 8, 8, 3), "permute"), (torch.zeros(2, 4, 8, 8), "2×4×8×8"),
        (torch.full((3, 2, 2), float("nan")), "NaN"),
    ],
)
def test_refusals(bad, says):
    for function in (to_uint8, to_pil, contact_sheet, lambda x: difference(x, x), lambda x: show_images([[x]])):
        with pytest.raises(ValueError, match=says):
            function(bad)


def test_to_pil():
    image = to_pil(picture()[0])
    assert image.size == (16, 16) and (np.asarray(image) == to_uint8(picture()[0])[0]).all()
    with pytest.raises(ValueError, match="one picture and got 2"):
        to_pil(picture())


# ---- labels ----

def test_color_labels():
    labels = torch.arange(19).view(1, 1, 19)
    assert (to_uint8(color_labels(labels))[0, 0] == np.array(PALETTE)).all()
    assert color_labels(labels[0]).shape == (1, 3, 1, 19)
    assert len(set(PALETTE)) == 19
    assert torch.equal(color_labels(labels), color_labels(labels.byte()))


@pytest.mark.parametrize(
    "bad, says",
    [
        (torch.zeros(1, 2, 2), "whole numbers"), (torch.full((1, 2, 2), 19), "0 to 18"),
        (torch.full((2, 2), -1), "-1"), (torch.zeros(1, 19, 2, 2, dtype=torch.long), "argmax"),
    ],
)
def test_color_labels_refuses(bad, says):
    with pytest.raises(ValueError, match=says):
        color_labels(bad)


# ---- differences ----

def test_difference():
    a = picture()
    black = torch.tensor(HEAT[0]) / 127.5 - 1
    assert torch.equal(difference(a, a), black[None, :, None, None].expand(2, 3, 16, 16))
    assert torch.equal(difference(a, -a), difference(-a, a)), "it does not matter which comes first"
    white = torch.tensor(HEAT[-1]) / 127.5 - 1
    assert torch.allclose(difference(a - a - 1, a - a + 1, gain=1), white[None, :, None, None].expand(2, 3, 16, 16))
    assert difference(a[:1], a).shape == difference(a[0], a).shape == (2, 3, 16, 16)


def test_more_change_is_brighter():
    steps = torch.linspace(0, 0.4, 20)
    shown = difference(torch.zeros(3, 1, 20), steps.expand(3, 1, 20))
    assert (shown.mean(1).diff() > 0).all()


def test_one_channel_is_enough():
    a = torch.zeros(1, 3, 4, 4)
    b = a.clone()
    b[:, 1] = 0.2
    assert torch.equal(difference(a, b), difference(a, a + 0.2))


def test_difference_refuses():
    with pytest.raises(ValueError, match="cannot compare"):
        difference(picture(2), picture(3))
    with pytest.raises(ValueError, match="cannot compare"):
        difference(picture(2, 16), picture(2, 8))


# ---- layouts ----

@given(st.integers(1, 11), st.integers(1, 5), st.integers(0, 3))
def test_contact_sheet(n, columns, gap):
    x = picture(n, 8)
    sheet = contact_sheet(x, columns, gap)
    across = min(columns, n)
    down = -(-n // across)
    assert sheet.shape == (3, down * (8 + gap) - gap, across * (8 + gap) - gap)
    for k in range(n):
        top, left = k // across * (8 + gap), k % across * (8 + gap)
        assert torch.equal(sheet[:, top:top + 8, left:left + 8], x[k])


def test_show_images():
    plt = pytest.importorskip("matplotlib.pyplot")
    x = picture(3)
    figure = show_images([x, [x[0], x[1:]], x[0]], ["a", "b\nb", "c"], ["one", "two", "three"])
    assert len(figure.axes) == 3 + 3 + 1
    assert figure.axes[1].get_title() == "b\nb" and figure.axes[3].get_title() == ""
    assert not plt.get_fignums(), "the figure is closed: a notebook shows it once"
    assert (figure.axes[0].images[0].get_array() == to_uint8(x)[0]).all()
    assert len(show_images(x).axes) == 3
    assert [ax.get_title() for ax in show_images([x[:1], x[:1]], [["a"], ["b"]]).axes] == ["a", "b"]


def test_show_images_without_matplotlib(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"expr_course\[lab\]"):
        plots.show_images([picture()])
