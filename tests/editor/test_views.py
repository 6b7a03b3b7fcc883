"""What the editor shows and hands out: portraits, the true answer, asked against obtained, files in memory."""
import io
import os

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toy_editor import network, png

from expr_course.action_units import AUS, au_vector, merge_sides
from expr_course.editing.files import edit_file, provenance
from expr_course.editing import ExpressionEditor
from expr_course.editor.state import Edit, asked, moved, stretched
from expr_course.editor.views import (Reading, any_portrait, bars, compared, drawn_portrait, edited_file, magnified,
                                      file_portrait, gif_file, views_of, mp4_file, read_aus, sweep, wipe)
from expr_course.data.images import open_image
from expr_course.plots import to_png
from expr_course.editing.views import MAX_BYTES, MAX_SIDE, look_at_edit

SMILE = stretched(moved(moved(Edit(), "AU12", 0.8), "AU04L", -0.35), 1.25)


class Judge(torch.nn.Module):
    """Reads AU12 from the brightness of the picture, 17 AUs."""
    size = 32

    def forward(self, image):
        out = torch.zeros(len(image), 17)
        out[:, AUS.index("AU12")] = (image.mean((1, 2, 3)) + 1) / 2
        return out


@pytest.fixture(scope="module")
def editor():
    return ExpressionEditor(network(), size=32, device="cpu")


# --- portraits ------------------------------------------------------------------------------------------------------

def test_drawn_portraits_are_files():
    portrait = drawn_portrait(3, 5, 64)
    assert (
        portrait.name == "person-3-5.png"
        and drawn_portrait(3, 0, 64).name == "person-3.png"
        and portrait.subject.aus.any()
    )
    assert torch.equal(open_image(portrait.data).rgb, portrait.subject.face)
    namespace = {}
    exec(portrait.before.rsplit("\n", 1)[0], namespace)
    assert np.array_equal(
        np.asarray(namespace["to_pil"](namespace["drawn_subject"](3, 5, size=64).face)),
        np.asarray(Image.open(io.BytesIO(portrait.data))),
    )


def test_file_portraits():
    portrait = file_portrait("me.png", png())
    assert (
        portrait.subject.face.shape == (3, 40, 40)
        and portrait.data == png()
        and portrait.before == ""
        and "me.png" in portrait.subject.text
    )
    assert file_portrait("big.png", png((700, 900))).subject.face.shape == (3, MAX_SIDE, MAX_SIDE)
    for data, message in (
        (b"", "empty"), (b"milk", "not a picture"), (png()[: len(png()) // 2], "damaged"),
        (bytes(MAX_BYTES + 1), "MB.*smaller"),
    ):
        with pytest.raises(ValueError, match=f"me.png.*{message}"):
            file_portrait("me.png", data)


def test_any_portrait(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    path, data, image = (
        any_portrait(tmp_path / "a.png"), any_portrait(png()), any_portrait(Image.open(io.BytesIO(png()))),
    )
    array, tensor = any_portrait(np.asarray(Image.open(io.BytesIO(png())))), any_portrait(open_image(png()).rgb)
    assert path.name == str(tmp_path / "a.png") and path.data == data.data == png() and not path.before
    for portrait in (data, image, array, tensor):
        assert (
            torch.equal(portrait.subject.face, path.subject.face)
            and torch.equal(open_image(portrait.data).rgb, open_image(png()).rgb)
            and "open_image(image)" in portrait.before
        )
    with pytest.raises(FileNotFoundError):
        any_portrait("no-such.png")
    with pytest.raises(TypeError):
        any_portrait(3)


# --- files --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
@pytest.mark.parametrize("edit", [Edit(), SMILE], ids=["nothing", "an edit"])
def test_the_file_is_what_the_command_writes(editor, tmp_path, mode, edit):
    (tmp_path / "a.png").write_bytes(png((90, 70), mode))
    edit_file(editor, tmp_path / "a.png", tmp_path / "b.png", asked(edit), intensity=edit.intensity)
    ours = edited_file(editor, any_portrait(tmp_path / "a.png"), edit)
    assert ours == (tmp_path / "b.png").read_bytes()
    assert "relative action units" in Image.open(io.BytesIO(ours)).text["Comment"] and sorted(os.listdir(tmp_path)) == [
        "a.png",
        "b.png",
    ]
    if edit == Edit():
        assert np.array_equal(
            np.asarray(Image.open(io.BytesIO(ours)).convert("RGBA")),
            np.asarray(Image.open(tmp_path / "a.png").convert("RGBA")),
        )


def test_view_and_file_are_one_edit(editor):
    portrait = drawn_portrait(1, 3, 64)
    live = editor.edit(portrait.subject.face, asked(SMILE), intensity=SMILE.intensity)
    assert to_png(live) == to_png(open_image(edited_file(editor, portrait, SMILE)).rgb)
    assert to_png(editor.edit(portrait.subject.face, asked(Edit()))) == to_png(portrait.subject.face) == portrait.data


def test_views_of_agree_with_look(editor):
    portrait = drawn_portrait(1, 3, 64)
    views = look_at_edit(editor, portrait.subject, asked(SMILE), SMILE.intensity)
    ours = views_of(portrait, SMILE, views.after)
    assert (
        torch.equal(ours.truth, views.truth)
        and torch.equal(ours.change, views.change)
        and ours.remarks == views.remarks
    )
    assert views_of(file_portrait("me.png", png()), SMILE, open_image(png((40, 40))).rgb).truth is None


# --- wipe ---------------------------------------------------------------------------------------------------------

@given(st.floats(-1, 2), st.integers(4, 40))
def test_wipe(at, side):
    before, after = torch.full((3, side, side), -0.5), torch.full((3, side, side), 0.5)
    out = wipe(before, after, at)
    column = round(min(max(at, 0), 1) * side)
    assert (
        (out[..., : max(column - 1, 0)] == -0.5).all()
        and (out[..., column + 1 :] == 0.5).all()
        and (before == -0.5).all()
    )
    if column in (0, side):
        assert torch.equal(out, before if column else after)
    else:
        assert (out[..., column - 1:column + 1] == 1).all()


def test_wipe_needs_one_size():
    with pytest.raises(ValueError, match="one size"):
        wipe(torch.zeros(3, 4, 4), torch.zeros(3, 4, 5))


# --- asked and obtained -------------------------------------------------------------------------------------------

def test_without_an_estimator(editor):
    portrait = drawn_portrait(0, 0, 64)
    assert read_aus(editor, portrait.subject.face) is None
    reading = compared(editor, portrait, SMILE, portrait.subject.face, portrait.subject.face)
    assert reading[1:] == (None, None) and torch.allclose(reading.asked, merge_sides(1.25 * asked(SMILE)))
    html = bars(reading)
    assert "AU12" in html and "AU04" in html and "AU01" not in html and "obtained, as" not in html
    assert "nothing is asked for" in bars(Reading(torch.zeros(17)))


def test_with_an_estimator(editor):
    judged_editor = ExpressionEditor(editor.generator, estimator=Judge(), size=32, device="cpu")
    portrait = drawn_portrait(0, 0, 64)
    brighter = (portrait.subject.face + 0.3).clamp(-1, 1)
    reading = compared(judged_editor, portrait, SMILE, brighter, portrait.subject.face)
    row = AUS.index("AU12")
    assert (
        0.05 < reading.obtained[row] < 0.2
        and reading.truth[row] == 0
        and not reading.obtained[torch.arange(17) != row].any()
    )
    html = bars(reading)
    assert "obtained, as the estimator reads it" in html and "true answer" in html and "currentColor" in html
    assert read_aus(judged_editor, brighter).shape == (17, 2)


def test_bars_show_what_moved_unasked():
    moved_unasked = torch.zeros(17)
    moved_unasked[AUS.index("AU45")] = -0.4
    html = bars(Reading(torch.zeros(17), moved_unasked))
    assert "AU45" in html and html.count("<text") == 1


# --- films --------------------------------------------------------------------------------------------------------

def test_sweep_goes_there_and_back(editor):
    face = drawn_portrait(1, 3, 64).subject.face
    frames = sweep(editor, face, SMILE, frames=5)
    assert frames.shape == (8, 3, 64, 64) and torch.equal(frames[0], face)
    assert torch.allclose(frames[4], editor.edit(face, asked(SMILE), intensity=1.25), atol=1e-4) and torch.equal(
        frames[3], frames[5]
    )


def test_enlarged():
    assert (
        magnified(torch.zeros(2, 3, 64, 64)).shape == (2, 3, 256, 256)
        and magnified(torch.zeros(1, 3, 100, 100)).shape[-1] == 300
    )
    assert magnified(torch.zeros(1, 3, 300, 300)).shape[-1] == 300


def test_films_hold_the_frames_and_the_comment(editor):
    frames = torch.stack([torch.full((3, 65, 64), v) for v in (-1.0, -0.5, 0.0, 0.5)])
    note = provenance(au_vector({"AU12": 0.5}), {})["Comment"]
    gif = Image.open(io.BytesIO(gif_file(frames, note, fps=10)))
    assert (
        gif.n_frames == 4
        and gif.info["comment"].decode() == note
        and gif.info["loop"] == 0
        and gif.info["duration"] == 100
    )
    with av.open(io.BytesIO(mp4_file(frames, note, fps=8, loops=3))) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert film.metadata["comment"] == note and float(film.streams.video[0].average_rate) == 8
    assert len(pictures) == 12 and pictures[0].shape == (64, 64, 3)
    assert [round(float(p.mean()) / 64) for p in pictures[:4]] == [0, 1, 2, 3]


def test_no_16_bit_float_png():
    from expr_course.editor.views import png_file
    with pytest.raises(ValueError, match="floating-point"):
        png_file(Image.new("F", (4, 4)), {})
