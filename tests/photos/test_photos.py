"""Photographs: faces found and refused, edits that leave everything else to the last bit, any kind of picture, damaged
files, and folders."""
import math
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageCms
from toy_editor import network, stored

from expr_course.data.crops import Crop, crop_of_box, cut, move_points
from expr_course.editing import ExpressionEditor
from expr_course.photos.find import (LEAST, Found, boxes, change, corners, examine, find_faces, frame_from_box,
                                     guesses, own_parser, pick, plaster, portrait_wall, reason, same, score_of,
                                     search, to_picture, within)
from expr_course.data.images import open_image
from expr_course.photos.command import decide, main, pairs
from expr_course.photos.paste import LARGEST, added, change_mask, crop, edit_photo, face_region, paste
from expr_course.training.weights import save_network

WISH = {"AU12": 0.9, "AU06": 0.5, "AU25": 0.4}


@pytest.fixture(scope="module")
def editor():
    return ExpressionEditor(network(), size=32, device="cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_network(folder / "generator.safetensors", network(), size=32)
    (folder / "card.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def snapshot():
    """One drawn portrait, askew, in a picture of 320×260: pixels 3×H×W and the true frame."""
    photo, (true,) = portrait_wall(((1006, 170, 130, 170, 8),), 260, 320)
    return (photo * 127.5 + 127.5).round() / 127.5 - 1, true


@pytest.fixture(scope="module")
def pixels(snapshot):
    return (snapshot[0] * 127.5 + 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()


@pytest.fixture(scope="module")
def face(snapshot):
    (found,) = find_faces(snapshot[0])
    return found


def error(frame, true):
    """Centre and size in half sides, tilt in degrees."""
    tilt = math.atan2(frame.sin * true.cos - frame.cos * true.sin, frame.cos * true.cos + frame.sin * true.sin)
    return (
        math.hypot(frame.x - true.x, frame.y - true.y) / true.half, abs(math.log(frame.half / true.half)),
        abs(math.degrees(tilt)),
    )


frames = st.builds(
    lambda x, y, half, turn: Crop(x, y, half, math.cos(turn), math.sin(turn)), st.floats(-20, 120),
    st.floats(-20, 120), st.floats(9, 80), st.floats(-3.1, 3.1),
)


# --- there and back ----------------------------------------------------------------------------------------------

@given(frames, st.integers(8, 300), st.integers(0, 99))
def test_points_there_and_back(frame, size, seed):
    points = np.random.default_rng(seed).uniform(-50, 200, (20, 2))
    assert np.abs(to_picture(move_points(points, frame, size), frame, size) - points).max() < 1e-6
    assert np.allclose(
        corners(frame),
        to_picture([(-0.5, -0.5), (size - 0.5, -0.5), (size - 0.5, size - 0.5), (-0.5, size - 0.5)], frame, size),
    )


@given(frames, st.integers(8, 200))
def test_a_frame_within_a_frame(frame, size):
    inner = Crop(size * 0.4, size * 0.6, size * 0.2, math.cos(0.3), math.sin(0.3))
    assert np.allclose(to_picture(corners(inner), frame, size), corners(within(inner, frame, size)), atol=1e-6)


@settings(max_examples=10)
@given(st.floats(40, 60), st.floats(40, 60), st.floats(-0.6, 0.6), st.floats(20, 34))
def test_a_spot_goes_into_the_crop_and_back_within_a_tenth_of_a_pixel(x, y, turn, half):
    line = torch.arange(100.0)
    spot = torch.exp(-((line - x) ** 2 + (line[:, None] - y) ** 2) / 32).expand(3, -1, -1)
    frame = Crop(50.0, 50.0, half, math.cos(turn), math.sin(turn))
    seen = cut(spot, frame, 64)
    def centre(t, n):
        return [
            float((t[0] * torch.arange(float(n))).sum() / t[0].sum()),
            float((t[0] * torch.arange(float(n))[:, None]).sum() / t[0].sum()),
        ]
    if abs(move_points([(x, y)], frame, 64) - 31.5).max() > 12: return     # too near the border to weigh
    assert np.abs(to_picture([centre(seen, 64)], frame, 64)[0] - (x, y)).max() < 0.1
    back = added(torch.zeros(3, 100, 100), seen.clamp(0, 1), frame)
    assert np.abs(np.array(centre(back, 100)) - (x, y)).max() < 0.1


# --- finding -----------------------------------------------------------------------------------------------------

def test_every_portrait_of_a_wall_is_found():
    photo, truth = portrait_wall(size=128)
    found = find_faces(photo)
    assert len(found) == 4 and [f.frame.half for f in found] == sorted((f.frame.half for f in found), reverse=True)
    for face, true in zip(found, sorted(truth, key=lambda frame: -frame.half)):
        centre, size, tilt = error(face.frame, true)
        assert centre < 0.06 and size < 0.12 and tilt < 3, face
        assert face.score > 0.45 and "pixels" in str(face)


def test_the_same_face_in_every_kind_of_picture(pixels, snapshot, face, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for picture in (Image.fromarray(pixels), tmp_path / "a.png", pixels.astype(np.uint16) * 257):
        (found,) = find_faces(picture)
        assert error(found.frame, snapshot[1])[0] < 0.06 and change(found.frame, face.frame) < 0.02


def test_a_box_that_was_found_can_be_given_back(snapshot, face):
    centre, size, tilt = error(frame_from_box(snapshot[0], face.box).frame, snapshot[1])
    assert centre < 0.06 and size < 0.12 and tilt < 3
    upright = Found(Crop(100.0, 90.0, 40.0))
    assert change(crop_of_box(*upright.box), upright.frame) < 0.05


def test_a_box_by_hand(snapshot, face):
    photo, true = snapshot
    # brows to chin; the head; the frame
    for left, top, right, bottom in ((0.6, 0.45, 0.6, 0.85), (0.8, 1.0, 0.8, 0.95), (1, 1, 1, 1)):
        box = (
            true.x - left * true.half, true.y - top * true.half, (left + right) * true.half,
            (top + bottom) * true.half,
        )
        found = frame_from_box(photo, box)
        assert found.score > 0.45 and error(found.frame, true)[0] < 0.08
    plain = frame_from_box(photo, (5, 5, 40, 40))
    assert (
        plain.score == 0
        and plain.frame == crop_of_box(5, 5, 40, 40)
        and frame_from_box(photo, face.box, refine=False).score == 0
    )


@pytest.mark.parametrize("box, message", [((1, 2, 3), "four numbers"), ("here", "four numbers"), (None, "four numbers"), ((1, 2, 3, "x"), "four numbers"), ((10, 10, 5, 50), "too small"),
                                          ((10, 10, float("nan"), 50), "too small"), ((400, 10, 50, 50), "does not lie"), ((-90, 10, 50, 50), "does not lie"), ((0, 0, 9000, 50), "does not lie")])
def test_bad_boxes(snapshot, box, message):
    with pytest.raises((ValueError, TypeError), match=message):
        frame_from_box(snapshot[0], box)


def test_nothing_to_find():
    for picture in (
        plaster(120, 160), torch.zeros(3, 90, 70), torch.rand(3, 64, 64), torch.ones(3, 1, 1), torch.zeros(3, 2, 300),
    ):
        found, refused = search(picture)
        assert found == []
        with pytest.raises(ValueError, match="no face was found.*box"):
            pick(found, 0, refused)


def test_half_a_face_and_a_tiny_one_are_refused_with_a_reason(snapshot):
    photo, true = snapshot
    hidden = photo.clone()
    hidden[:, :, int(true.x):] = 0.2
    with pytest.raises(ValueError, match="eye|nose|mouth|no face"):
        examine(hidden, true, own_parser())
    small, (frame,) = portrait_wall(((1006, 60, 60, LEAST - 12, 0),), 120, 120)
    with pytest.raises(ValueError, match=f"pixels a side, and {LEAST}|no face|made out"):
        examine(small, frame, own_parser())
    edge = photo[:, :, int(true.x):].contiguous()
    with pytest.raises(ValueError):
        examine(edge, Crop(0, true.y, true.half, true.cos, true.sin), own_parser())


def test_reasons():
    sure = dict.fromkeys(("left eye", "right eye", "left brow", "right brow", "nose", "mouth", "face"), 0.9) | {
        "left glass": 0.0,
        "right glass": 0.0,
    }
    # closed, with a brow
    assert score_of(sure) == pytest.approx(0.81) and score_of(sure | {"left eye": 0.0}) == pytest.approx(0.81)
    assert score_of(sure | {"left eye": 0.0, "left brow": 0.0, "left glass": 0.9}) == pytest.approx(0.81)
    assert "one eye" in reason(sure | {"left eye": 0.0, "left brow": 0.1}) and "mouth" in reason(sure | {"mouth": 0.1})
    assert reason(sure | {"face": 0.2}) == "no face" and score_of(sure | {"face": 0.0}) == 0


def test_picking():
    found = [Found(Crop(0, 0, 10.0)), Found(Crop(50, 0, 5.0))]
    assert (
        pick(found) is found[0]
        and pick(found, 1) is found[1]
        and not same(*found)
        and same(found[0], Found(Crop(2, 0, 9.0)))
    )
    for wrong in (2, -1, "all", 1.0, True, None):
        with pytest.raises(ValueError, match="of the 2"):
            pick(found, wrong)


def test_tilted_pictures_are_turned(snapshot):
    turned = cut(snapshot[0], Crop(159.5, 129.5, 130.0, math.cos(-0.3), math.sin(-0.3)), 260)
    assert any(abs(math.atan2(f.frame.sin, f.frame.cos)) > 0.3 for f in find_faces(turned))


def test_without_scikit_image(monkeypatch, editor, snapshot, face):
    from expr_course.photos import find as finding
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    finding.cascade.cache_clear()
    try:
        with pytest.raises(ImportError, match="scikit-image.*box"):
            find_faces(snapshot[0])
        assert edit_photo(editor, snapshot[0], WISH, box=face.box).shape == snapshot[0].shape
    finally:
        finding.cascade.cache_clear()


def test_a_face_of_a_few_pixels_is_no_crash(snapshot):
    for side in (9, 16, 24):
        assert find_faces(torch.nn.functional.interpolate(snapshot[0][None], (side, side), mode="area")[0]) == []


def test_guesses_ignore_mirror_images():
    assert guesses(torch.zeros(3, 30, 200), 200) == [] and boxes(np.zeros((50, 50), np.uint8)) == []


# --- cutting and pasting -----------------------------------------------------------------------------------------

def test_crops_have_the_faces_own_resolution(snapshot, face):
    before, frame = crop(snapshot[0], face)
    assert (
        frame == face.frame and before.shape[-1] == round(2 * frame.half) and -1 <= before.min() and before.max() <= 1
    )
    assert crop(snapshot[0], face.frame, 48)[0].shape == (3, 48, 48)
    assert crop(torch.zeros(3, 50, 50), Crop(25, 25, 3000.0))[0].shape[-1] == LARGEST


@st.composite
def pictures(draw):
    """(kind, picture) of random size and content; zero edits must give them back."""
    height, width, seed = draw(st.integers(1, 90)), draw(st.integers(1, 90)), draw(st.integers(0, 99))
    rng, kind = (
        np.random.default_rng(seed),
        draw(
            st.sampled_from(
                [
                    "uint8", "grey", "alpha", "uint16", "double", "half", "RGB", "L", "RGBA", "LA", "I;16", "tensor",
                    "tensor64",
                ]
            )
        ),
    )
    a = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
    make = {
        "uint8": lambda: a[..., :3].copy(), "grey": lambda: a[..., 0].copy(), "alpha": lambda: a,
        "uint16": lambda: rng.integers(0, 65536, (height, width, 3)).astype(np.uint16),
        "double": lambda: rng.random((height, width, 3)),
        "half": lambda: rng.random((height, width, 3)).astype(np.float16), "RGB": lambda: Image.fromarray(a[..., :3]),
        "L": lambda: Image.fromarray(a[..., 0]), "RGBA": lambda: Image.fromarray(a),
        "LA": lambda: Image.fromarray(a[..., :2]),
        "I;16": lambda: Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16)),
        "tensor": lambda: torch.from_numpy(a[..., :3] / 127.5 - 1).permute(2, 0, 1).float(),
        "tensor64": lambda: torch.from_numpy(rng.random((1, 3, height, width)) * 2 - 1),
    }
    if kind in ("grey", "alpha", "uint8", "uint16", "double", "half") and min(height, width) < 5:
        kind = "RGB"     # an array this thin may be read in two ways
    return kind, make[kind]()


def equal(a, b):
    if isinstance(a, torch.Tensor): return a.dtype == b.dtype and torch.equal(a, b)
    return (
        type(a) is type(b)
        and np.asarray(a).dtype == np.asarray(b).dtype
        and np.array_equal(np.asarray(a), np.asarray(b))
    )


@given(pictures(), frames)
def test_a_zero_edit_is_exact(picture, frame):
    kind, image = picture
    before, kept = crop(image, frame, 40)
    assert kept == frame and equal(paste(image, before, before.clone(), frame), image), kind


@given(pictures(), frames, st.integers(0, 99))
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
    away = (np.abs(place - 19.5).max(-1) > 14.5)     # the mask grows the edit by a few pixels at most
    def as_array(p):
        return (
            np.moveaxis(np.asarray(p), -3, -1).reshape(height, width, -1)
            if isinstance(p, torch.Tensor)
            else np.asarray(p).reshape(height, width, -1)
        )
    assert np.array_equal(as_array(result)[away], as_array(image)[away]), kind
    if kind == "RGBA":
        assert np.array_equal(np.asarray(result)[..., 3], np.asarray(image)[..., 3])


@pytest.mark.parametrize("size", [40, 300])
def test_the_mask(size):
    before = torch.zeros(3, size, size)
    after = before.clone()
    after[:, size // 3:size // 2, size // 3:size // 2] = 0.5
    mask = change_mask(before, after)
    assert (
        mask.shape == (1, size, size)
        and 0 <= mask.min()
        and mask.max() <= 1
        and mask[0, size * 5 // 12, size * 5 // 12] > 0.99
    )
    assert mask[0, :size // 8].max() == 0 and mask[0, :, -size // 4:].max() == 0
    assert change_mask(before, before + 0.9 / 127.5).max() == 0, "less than a step is nothing"
    assert change_mask(before, before + 1).max() > 0.99 and change_mask(before, before + 1)[0, 0].max() == 0, (
        "fades at the border"
    )
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
    assert (
        region[0, 80, 64] > 0.95
        and region[0, :, :6].max() < 0.05
        and region[0, :12, :12].max() == 0
        and region[0, :12, -12:].max() == 0
    )


def test_paste_refuses(snapshot, face):
    before, frame = crop(snapshot[0], face, 40)
    with pytest.raises(ValueError, match="one size"):
        paste(snapshot[0], before, before[:, :30], frame)
    with pytest.raises(ValueError, match="NaN"):
        paste(snapshot[0], before, before * float("nan"), frame)


# --- one call ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["array", "PIL", "alpha", "tensor", "sixteen", "grey"])
def test_edits_a_photograph_and_leaves_the_rest(editor, snapshot, pixels, face, kind):
    image = {
        "array": pixels, "PIL": Image.fromarray(pixels),
        "alpha": Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 77, np.uint8)])), "tensor": snapshot[0],
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
    outside = (
        np.abs(move_points(np.stack(np.mgrid[:320, :260].reshape(2, -1), 1), face.frame, 2) - 0.5)
        .max(-1)
        .reshape(320, 260)
        .T
        > 1
    )
    assert np.array_equal(a[outside], b[outside])
    if kind == "alpha":
        assert (a[..., 3] == 77).all()


def test_finds_the_face_itself_and_takes_all(editor, snapshot):
    photo, _ = snapshot
    assert not torch.equal(edit_photo(editor, photo, WISH), photo)
    both, truth = portrait_wall(((1006, 90, 100, 130, 0), (1020, 250, 100, 150, 0)), 200, 340, size=128)
    def changed(out):
        return [bool((cut(out, f, 32) != cut(both, f, 32)).any()) for f in truth]
    assert changed(edit_photo(editor, both, WISH)) == [False, True] and changed(
        edit_photo(editor, both, WISH, face=1)
    ) == [True, False]
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
    Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / "turned.png", exif=exif, icc_profile=profile
    )
    out = edit_photo(editor, tmp_path / "turned.png", WISH, box=face.box)
    assert out.size == (320, 260) and out.info["icc_profile"] == profile
    assert np.array_equal(np.asarray(out), edit_photo(editor, pixels, WISH, box=face.box))


def test_hard_formats(editor, pixels, face, tmp_path):
    """Animated, palette, CMYK, 1-bit: whatever lesson 03a reads, through this door."""
    image = Image.fromarray(pixels)
    files = {
        "animated.gif": stored(
            image, "GIF", save_all=True, append_images=[image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
        ),
        "palette.png": stored(image.quantize(64)),
        "cmyk.jpg": stored(image.convert("CMYK"), "JPEG"),
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
    assert (
        before.shape[-1] == LARGEST
        and out.shape == big.shape
        and torch.equal(out[:, :200], big[:, :200])
        and not torch.equal(out, big)
    )


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


@pytest.mark.parametrize("data, message", [(b"", "empty"), (b"milk", "not a picture"), (png(12000, 9000), "max_pixels"), (png(100000, 100000), "too large|max_pixels"), (png(40, 40), "damaged")],
                         ids=["empty", "text", "108 megapixels", "bomb", "truncated"])
def test_bad_pictures(editor, data, message):
    for call in (lambda: edit_photo(editor, data, WISH), lambda: find_faces(data)):
        with pytest.raises(ValueError, match=message):
            call()


# --- the command -------------------------------------------------------------------------------------------------

@pytest.fixture
def run(weights, capsys):
    """run(*words) -> (exit status, stdout, stderr), with small weights."""
    def run(*words):
        status = main([*map(str, words), "--weights", str(weights)])
        return status, *capsys.readouterr()
    return run


@pytest.fixture
def folder(tmp_path, pixels):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "photo.png")
    return tmp_path


def test_a_photograph_on_the_command_line(run, folder, pixels):
    status, out, err = run(folder / "in" / "photo.png", folder / "a.png", "AU12=+0.9", "AU06=0.5")
    assert status == 0 and err == "" and "a face of" in out and "AU12 +0.90" in out
    result = Image.open(folder / "a.png")
    assert (
        result.size == (320, 260)
        and "AU12 +0.90" in result.text["Comment"]
        and not np.array_equal(np.asarray(result), pixels)
    )
    assert np.array_equal(np.asarray(result)[:20], pixels[:20])
    assert run(folder / "in" / "photo.png", folder / "z.png", "AU12=0")[0] == 0 and np.array_equal(
        np.asarray(Image.open(folder / "z.png")), pixels
    )


def test_box_face_and_whole(run, folder, face, pixels):
    photo = folder / "in" / "photo.png"
    box = [str(v) for v in face.box]
    assert run(photo, folder / "b.png", "--box", *box, "AU12=0.9")[0] == 0     # options may stand before the AUs
    assert (
        run(photo, folder / "c.png", "AU12=0.9", "--face", "0")[0] == 0
        and run(photo, folder / "d.png", "AU12=0.9", "--face", "all")[0] == 0
    )
    assert run(photo, folder / "w.png", "AU12=0.9", "--whole")[0] == 0
    assert not np.array_equal(np.asarray(Image.open(folder / "w.png")), np.asarray(Image.open(folder / "c.png")))
    assert np.array_equal(np.asarray(Image.open(folder / "c.png")), np.asarray(Image.open(folder / "d.png")))
    status, _, err = run(photo, folder / "e.png", "AU12=0.9", "--face", "3")
    assert status == 2 and "face 3" in err and not (folder / "e.png").exists()
    for words in (["--face", "x"], ["--face", "-1"], ["--face", "0", "--whole"], ["--box", "1", "2"]):
        with pytest.raises(SystemExit) as stop:
            run(photo, folder / "e.png", "AU12=0.9", *words)
        assert stop.value.code == 2


def test_crops_are_edited_as_before(weights, run, tmp_path):
    from expr_course.editing.files import main as plain
    portrait, frame = portrait_wall(((1006, 64, 64, 128, 0),), 128, 128)
    Image.fromarray(
        np.asarray((cut(portrait, Crop(63.5, 63.5, 62.0), 124) * 127.5 + 127.5).round().byte().permute(1, 2, 0))
    ).save(tmp_path / "crop.png")
    status, out, err = run(tmp_path / "crop.png", tmp_path / "new.png", "AU12=0.9")
    assert (
        status == 0
        and plain([str(tmp_path / "crop.png"), str(tmp_path / "old.png"), "AU12=0.9", "--weights", str(weights)]) == 0
    )
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new.png")), np.asarray(Image.open(tmp_path / "old.png"))), (
        out
    )
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "small.png")
    status, out, _ = run(tmp_path / "small.png", tmp_path / "s.png", "AU12=0.9")
    assert status == 0 and "taken for a crop" in out
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(tmp_path / "large.png")
    status, _, err = run(tmp_path / "large.png", tmp_path / "l.png", "AU12=0.9")
    assert status == 2 and "no face was found" in err and "box" in err and not (tmp_path / "l.png").exists()


def test_decide_without_scikit_image(monkeypatch):
    monkeypatch.setattr(
        "expr_course.photos.command.search",
        lambda *_: (_ for _ in ()).throw(ImportError("finding faces needs scikit-image")),
    )
    assert decide(open_image(torch.zeros(3, 64, 64))) == (
        [],
        "taken for a crop; scikit-image, which would look for a face, is not installed",
    )
    with pytest.raises(ImportError):
        decide(open_image(torch.zeros(3, 300, 500)))
    assert decide(open_image(torch.zeros(3, 300, 500)), entire=True) == ([], "")


def test_a_folder_with_bad_files(run, folder, pixels):
    (folder / "in" / "broken.png").write_bytes((folder / "in" / "photo.png").read_bytes()[:4000])
    (folder / "in" / "notes.txt").write_text("milk")
    Image.fromarray(pixels).save(folder / "in" / "photo.jpg", quality=95)
    (folder / "in" / "deeper").mkdir()
    status, out, err = run(folder / "in", folder / "out", "AU12=0.9")
    assert (
        status == 1
        and err.count("\n") == 1
        and "broken.png" in err
        and "[1/3]" in err
        and "2 of 3 pictures edited" in out
        and "1 file left out" in out
    )
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["photo.jpg.png", "photo.png.png"]
    status, out, err = run(folder / "in", folder / "out", "AU12=0.9", "--face", "7")
    assert status == 2 and err.count("\n") == 3 and "0 of 3" in out


def test_folders_that_cannot_be(run, folder):
    for source, target, message in (
        (folder / "in", folder / "in", "folder of their own"), (folder / "in", folder / "none", "must be one too"),
        (folder / "out", folder / "in", "no picture in the folder"),
        (folder / "none.png", folder / "x.png", "no file"),
    ):
        status, out, err = run(source, target, "AU12=0.9")
        assert status == 2 and message in err and err.startswith("expr-edit: ")
    status, _, err = run(folder / "in", folder / "out", "AU99=0.9")
    assert status == 2 and err.count("\n") == 1 and "AU99" in err
    assert (
        run(folder / "in" / "photo.png", folder / "out", "AU12=0.9")[0] == 0
        and (folder / "out" / "photo.png").is_file()
    )


def test_pairs_keep_apart_what_differs_in_its_ending(folder):
    for name in ("a.jpg", "A.png", "b.JPEG", ".hidden.png"):
        (folder / "in" / name).touch()
    todo, left_out = pairs(folder / "in", folder / "out")
    assert [t.name for _, t in todo] == ["A.png.png", "a.jpg.png", "b.png", "photo.png"] and left_out == 0


def test_orientation_profile_alpha_and_no_place(run, folder, pixels, face):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    with_alpha = Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 50, np.uint8)]))
    with_alpha.transpose(Image.Transpose.ROTATE_90).save(folder / "x.png", exif=exif, icc_profile=profile)
    assert run(folder / "x.png", folder / "y.png", "AU12=0.9", "--box", *face.box)[0] == 0
    out = Image.open(folder / "y.png")
    assert (
        out.size == (320, 260)
        and out.info["icc_profile"] == profile
        and (np.asarray(out)[..., 3] == 50).all()
        and not out.getexif()
    )


def test_as_a_command(weights, tmp_path):
    """In a process of its own: help, one line on stderr, exit status 2."""
    command = [sys.executable, "-m", "expr_course.photos.command"]
    helped = subprocess.run(command + ["--help"], capture_output=True, text=True)
    assert helped.returncode == 0 and "--face" in helped.stdout and "AU12=+0.8" in helped.stdout
    failed = subprocess.run(
        command + [str(tmp_path / "none.png"), str(tmp_path / "out.png"), "AU12=-0.3", "--weights", str(weights)],
        capture_output=True, text=True,
    )
    assert (
        failed.returncode == 2
        and failed.stderr.count("\n") == 1
        and "none.png" in failed.stderr
        and "Traceback" not in failed.stderr
    )


def test_damaged_files_never_stop_a_batch(run, folder, pixels, cases, face):
    """Bytes turned over, cut short, repeated: each file is edited or named, and nothing else happens."""
    rng, small = random.Random(0), Image.fromarray(pixels).resize((80, 65))
    whole_files = [
        (f".{ending}", stored(small, format))
        for ending, format in (
            ("png", "PNG"), ("jpg", "JPEG"), ("gif", "GIF"), ("webp", "WEBP"), ("tif", "TIFF"), ("bmp", "BMP"),
        )
    ]
    (folder / "in" / "photo.png").unlink()
    count = cases(36, 1000)
    for k in range(count):
        ending, data = whole_files[k % len(whole_files)]
        data = bytearray(data)
        for _ in range(rng.choice((0, 1, 5, 50))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.4:
            data = data[:rng.randrange(len(data))]
        if rng.random() < 0.1:
            data = data + data[:rng.randrange(1, 200)]
        (folder / "in" / f"{k:04}{ending}").write_bytes(data)
    status, out, err = run(folder / "in", folder / "out", "AU12=0.9", "--box", 20, 12, 40, 40)
    written = sorted(p.name for p in (folder / "out").iterdir())
    assert status in (0, 1) and len(written) + err.count("expr-edit: [") == count and "Traceback" not in err
    for name in written:
        Image.open(folder / "out" / name).load()
