"""Edits that leave everything else to the last bit, any kind of picture, and what is decided about it."""
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image, ImageCms
from toy_editor import stored
from toy_photos import WISH, equal, some_frames

from expr_course.data.crops import Crop, cut, move_points
from expr_course.data.images import open_image
from expr_course.photos.find import find_faces, own_parser
from expr_course.photos.paste import (LARGEST, added, change_mask, crop, decide, edit_photo, edit_square, face_region,
                                      paste)
from expr_course.photos.places import pixels_in, plaster, portrait_wall


def test_crops_have_the_faces_own_resolution(snapshot, face):
    before, frame = crop(snapshot[0], face)
    assert frame == face.frame and before.shape[-1] == round(2 * frame.half)
    assert -1 <= before.min() and before.max() <= 1
    assert crop(snapshot[0], face.frame, 48)[0].shape == (3, 48, 48)
    assert crop(torch.zeros(3, 50, 50), Crop(25, 25, 3000.0))[0].shape[-1] == LARGEST


ARRAYS = ("uint8", "grey", "alpha", "uint16", "double", "half")
KINDS = (*ARRAYS, "RGB", "L", "RGBA", "LA", "I;16", "tensor", "tensor64")


def image_of(kind, height, width, rng):
    """A picture of a kind with random content."""
    a = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
    wide, real = rng.integers(0, 65536, (height, width, 3)).astype(np.uint16), rng.random((height, width, 3))
    return {
        "uint8": a[..., :3].copy(), "grey": a[..., 0].copy(), "alpha": a, "uint16": wide, "double": real,
        "half": real.astype(np.float16), "RGB": Image.fromarray(a[..., :3]), "L": Image.fromarray(a[..., 0]),
        "RGBA": Image.fromarray(a), "LA": Image.fromarray(a[..., :2]), "I;16": Image.fromarray(wide[..., 0]),
        "tensor": torch.from_numpy(a[..., :3] / 127.5 - 1).permute(2, 0, 1).float(),
        "tensor64": torch.from_numpy(real.transpose(2, 0, 1)[None] * 2 - 1),
    }[kind]


@st.composite
def pictures(draw):
    """(kind, picture) of random size and content; zero edits must give them back."""
    height, width, kind = draw(st.integers(1, 90)), draw(st.integers(1, 90)), draw(st.sampled_from(KINDS))
    if kind in ARRAYS and min(height, width) < 5:
        kind = "RGB"     # an array this thin may be read in two ways
    return kind, image_of(kind, height, width, np.random.default_rng(draw(st.integers(0, 99))))


@given(pictures(), some_frames)
def test_a_zero_edit_is_exact(picture, frame):
    kind, image = picture
    before, kept = crop(image, frame, 40)
    assert kept == frame and equal(paste(image, before, before.clone(), frame), image), kind


@given(pictures(), some_frames, st.integers(0, 99))
def test_pixels_outside_of_the_mask_are_untouched(picture, frame, seed):
    kind, image = picture
    before, _ = crop(image, frame, 40)
    generator = torch.Generator().manual_seed(seed)
    after = before.clone()
    after[:, 12:28, 12:28] = torch.rand(3, 16, 16, generator=generator) * 2 - 1
    result = paste(image, before, after, frame)
    height, width = open_image(image).rgb.shape[-2:]
    y, x = np.mgrid[:height, :width]
    place = move_points(np.stack([x.ravel(), y.ravel()], 1), frame, 40).reshape(height, width, 2)
    away = np.abs(place - 19.5).max(-1) > 14.5     # the mask grows the edit by a few pixels at most
    def as_array(p):
        last = np.moveaxis(np.asarray(p), -3, -1) if isinstance(p, torch.Tensor) else np.asarray(p)
        return last.reshape(height, width, -1)
    assert np.array_equal(as_array(result)[away], as_array(image)[away]), kind
    if kind == "RGBA":
        assert np.array_equal(np.asarray(result)[..., 3], np.asarray(image)[..., 3])


@pytest.mark.parametrize("size", [40, 300])
def test_the_mask(size):
    before = torch.zeros(3, size, size)
    after = before.clone()
    after[:, size // 3:size // 2, size // 3:size // 2] = 0.5
    mask = change_mask(before, after)
    assert mask.shape == (1, size, size) and 0 <= mask.min() and mask.max() <= 1
    assert mask[0, size * 5 // 12, size * 5 // 12] > 0.99
    assert mask[0, :size // 8].max() == 0 and mask[0, :, -size // 4:].max() == 0
    assert change_mask(before, before + 0.9 / 127.5).max() == 0, "less than a step is nothing"
    everywhere = change_mask(before, before + 1)
    assert everywhere.max() > 0.99 and everywhere[0, 0].max() == 0, "fades at the border"
    assert change_mask(before, after, torch.zeros(1, size, size)).max() == 0


def test_large_pictures_in_strips_are_the_same(snapshot, face):
    before, frame = crop(snapshot[0], face)
    change_ = torch.randn(before.shape, generator=torch.Generator().manual_seed(0)) * 0.2
    assert torch.equal(added(snapshot[0], change_, frame), added(snapshot[0], change_, frame, rows=7))
    beside = Crop(1000.0, 1000.0, 20.0)
    assert torch.equal(added(snapshot[0], change_, beside), snapshot[0])


def test_the_region_is_the_face(snapshot, face):
    before, _ = crop(snapshot[0], face, 128)
    region = face_region(own_parser(), before, before)
    assert region.shape == (1, 128, 128) and 0 <= region.min() and region.max() <= 1
    assert region[0, 80, 64] > 0.95 and region[0, :, :6].max() < 0.05
    assert region[0, :12, :12].max() == 0 and region[0, :12, -12:].max() == 0


def test_paste_refuses(snapshot, face):
    before, frame = crop(snapshot[0], face, 40)
    with pytest.raises(ValueError, match="one size"):
        paste(snapshot[0], before, before[:, :30], frame)
    with pytest.raises(ValueError, match="NaN"):
        paste(snapshot[0], before, before * float("nan"), frame)


# --- one call ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["array", "PIL", "alpha", "tensor", "sixteen", "grey"])
def test_edits_a_photograph_and_leaves_the_rest(editor, snapshot, pixels, face, kind):
    alpha = np.dstack([pixels, np.full(pixels.shape[:2], 77, np.uint8)])
    image = {
        "array": pixels, "PIL": Image.fromarray(pixels), "alpha": Image.fromarray(alpha), "tensor": snapshot[0],
        "sixteen": pixels.astype(np.uint16) * 257, "grey": Image.fromarray(pixels).convert("L"),
    }[kind]
    kept = image.copy() if not isinstance(image, torch.Tensor) else image.clone()
    out, zero = edit_photo(editor, image, WISH, box=face.box), edit_photo(editor, image, {"AU12": 0.0}, box=face.box)
    assert equal(image, kept), "the input was changed"
    assert equal(zero, image) and not equal(out, image) and type(out) is type(image)
    def as_array(p):
        return p.permute(1, 2, 0).numpy() if isinstance(p, torch.Tensor) else np.asarray(p)
    a, b = as_array(out), as_array(image)
    assert a.shape == b.shape and a.dtype == b.dtype
    outside = (pixels_in(face.frame, 0, 0, 320, 260).abs().amax(-1) > 1).numpy()
    assert np.array_equal(a[outside], b[outside])
    if kind == "alpha":
        assert (a[..., 3] == 77).all()


def test_finds_the_face_itself_and_takes_all(editor, snapshot):
    photo, _ = snapshot
    assert not torch.equal(edit_photo(editor, photo, WISH), photo)
    both, truth = portrait_wall(((1006, 90, 100, 130, 0), (1020, 250, 100, 150, 0)), 200, 340, size=128)
    def changed(out):
        return [bool((cut(out, f, 32) != cut(both, f, 32)).any()) for f in truth]
    assert changed(edit_photo(editor, both, WISH)) == [False, True]
    assert changed(edit_photo(editor, both, WISH, face=1)) == [True, False]
    assert changed(edit_photo(editor, both, emotion="happiness", intensity=0.8, face="all")) == [True, True]
    with pytest.raises(ValueError, match="of the 2"):
        edit_photo(editor, both, WISH, face=2)
    with pytest.raises(ValueError, match="no face was found"):
        edit_photo(editor, plaster(100, 100), WISH)
    with pytest.raises(ValueError, match="AU99"):
        edit_photo(editor, photo, {"AU99": 1.0}, box=(10, 10, 90, 90))


def test_a_turned_photograph_with_a_profile(editor, pixels, face, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned.png", exif=exif, icc_profile=profile)
    out = edit_photo(editor, tmp_path / "turned.png", WISH, box=face.box)
    assert out.size == (320, 260) and out.info["icc_profile"] == profile
    assert np.array_equal(np.asarray(out), edit_photo(editor, pixels, WISH, box=face.box))


def test_hard_formats(editor, pixels, face, tmp_path):
    """Animated, palette, CMYK, 1-bit: whatever lesson 03a reads, through this door."""
    image = Image.fromarray(pixels)
    second = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    files = {
        "animated.gif": stored(image, "GIF", save_all=True, append_images=[second]),
        "palette.png": stored(image.quantize(64)), "cmyk.jpg": stored(image.convert("CMYK"), "JPEG"),
        "bits.png": stored(image.convert("1")),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        out = edit_photo(editor, tmp_path / name, WISH, box=face.box)
        assert out.size == image.size and out.mode in ("RGB", "L"), name


def test_a_large_photograph_stays_within_memory_and_time(editor):
    """12 megapixels with a face of 2,400 pixels: the crop is bounded, the rest stays."""
    photo, (true,) = portrait_wall(((1006, 200, 150, 240, 0),), 300, 400, size=128)
    big = torch.nn.functional.interpolate(photo[None], (3000, 4000), mode="nearest")[0]
    frame = Crop(true.x * 10, true.y * 10, true.half * 10)
    before, _ = crop(big, frame)
    out = paste(big, before, editor.edit(before, WISH), frame)
    assert before.shape[-1] == LARGEST and out.shape == big.shape
    assert torch.equal(out[:, :200], big[:, :200]) and not torch.equal(out, big)


def png(width, height):
    """A PNG whose header promises width×height pixels."""
    def part(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + part(b"IDAT", zlib.compress(b"\0" * 1000))
        + part(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data, message",
    [
        pytest.param(b"", "empty", id="empty"), pytest.param(b"milk", "not a picture", id="text"),
        pytest.param(png(12000, 9000), "max_pixels", id="108 megapixels"),
        pytest.param(png(100000, 100000), "too large|max_pixels", id="bomb"),
        pytest.param(png(40, 40), "damaged", id="truncated"),
    ],
)
def test_bad_pictures(editor, data, message):
    for call in (lambda: edit_photo(editor, data, WISH), lambda: find_faces(data)):
        with pytest.raises(ValueError, match=message):
            call()


# --- deciding ---------------------------------------------------------------------------------------------------------

def test_a_square_is_edited_as_the_editor_does(editor, snapshot):
    edited = edit_square(editor, snapshot[0], WISH)
    assert torch.equal(edited.rgb, editor.edit(snapshot[0], WISH)) and edited.faces == []
    assert torch.equal(edit_square(editor, snapshot[0], {"AU12": 0.0}).rgb, snapshot[0])


def test_what_is_decided(snapshot):
    photo, _ = snapshot
    (one,), text = decide(open_image(photo))
    assert one.score > 0.45 and text == ""
    two, _ = portrait_wall(((1006, 90, 100, 130, 0), (1020, 250, 100, 150, 0)), 200, 340, size=128)
    crop_of_one = cut(photo, Crop(one.frame.x, one.frame.y - 10, one.frame.half), 120)
    assert len(decide(open_image(crop_of_one))[0]) == 1, "a crop's face is edited in its own frame too"
    assert "2 faces found, --face 1" in decide(open_image(two))[1] and len(decide(open_image(two), "all")[0]) == 2
    assert decide(open_image(photo), entire=True) == ([], "")
    faces, text = decide(open_image(torch.zeros(3, 64, 64)))
    assert faces == [] and "edited whole" in text
    with pytest.raises(ValueError, match="no face was found.*box"):
        decide(open_image(torch.zeros(3, 300, 400)))


def test_decide_without_scikit_image(monkeypatch):
    def missing(*_):
        raise ImportError("finding faces needs scikit-image")
    monkeypatch.setattr("expr_course.photos.paste.search", missing)
    text = "taken for a crop; scikit-image, which would look for a face, is not installed"
    assert decide(open_image(torch.zeros(3, 64, 64))) == ([], text)
    with pytest.raises(ImportError):
        decide(open_image(torch.zeros(3, 300, 500)))
    assert decide(open_image(torch.zeros(3, 300, 500)), entire=True) == ([], "")
