"""Any picture in, the same kind out: formats, exactness, and refusals that help."""
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms

from expr_course.data.images import MAX_PIXELS, Picture, is_picture, open_image

SIZE = (11, 7)  # width, height


def noise(channels=3, dtype=np.uint8, size=SIZE, seed=0):
    high = 256 if dtype == np.uint8 else 65536
    shape = size[::-1] + ((channels,) if channels else ())
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def stored(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def check(picture, height=SIZE[1], width=SIZE[0]):
    assert isinstance(picture, Picture)
    assert picture.rgb.shape == (3, height, width) and picture.rgb.dtype == torch.float32
    assert -1 <= picture.rgb.min() and picture.rgb.max() <= 1
    if picture.alpha is not None:
        assert picture.alpha.shape == (1, height, width) and 0 <= picture.alpha.min() and picture.alpha.max() <= 1


# -- what comes in comes out ------------------------------------------------------------------------------------------
arrays = st.tuples(st.integers(1, 9), st.integers(4, 9), st.sampled_from([None, 1, 3, 4])).flatmap(
    lambda s: hnp.arrays(st.sampled_from([np.uint8, np.uint16]), s[:2] if s[2] is None else (max(s[0], 5), s[1], s[2])))


@given(arrays)
def test_integer_arrays_come_back_exactly(a):
    picture = open_image(a)
    check(picture, *a.shape[:2])
    back = picture.restore(picture.rgb)
    assert back.dtype == a.dtype and np.array_equal(back, a)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_keep_dtype_shape_and_value(dtype):
    a = (noise(4) / 255).astype(dtype)
    picture = open_image(a)
    back = picture.restore(picture.rgb)
    assert back.dtype == dtype and back.shape == a.shape
    assert np.abs(back.astype(float) - a.astype(float)).max() < 1e-3


@given(st.sampled_from(["L", "LA", "RGB", "RGBA"]), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_eight_bit_images_come_back_exactly(mode, width, height, seed):
    pixels = noise(len(mode), size=(width, height), seed=seed)
    image = Image.fromarray(pixels[..., 0] if mode == "L" else pixels)
    assert image.mode == mode
    for given_ in (image, stored(image), io.BytesIO(stored(image)), memoryview(stored(image))):
        picture = open_image(given_)
        check(picture, height, width)
        back = picture.restore(picture.rgb)
        assert back.mode == mode and np.array_equal(np.asarray(back), np.asarray(image))


@pytest.mark.parametrize("shape", [(3, 5, 6), (1, 3, 5, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_tensors_keep_shape_dtype_and_value(shape, dtype):
    t = torch.rand(shape, generator=torch.Generator().manual_seed(0)).mul(2).sub(1).to(dtype)
    picture = open_image(t)
    check(picture, 5, 6)
    back = picture.restore(picture.rgb[None])
    assert back.shape == shape and back.dtype == dtype and torch.allclose(back, t, atol=1e-6)


def test_a_tensor_keeps_its_gradient():
    t = torch.zeros(3, 4, 4, requires_grad=True)
    picture = open_image(t)
    picture.restore(picture.rgb * 2).sum().backward()
    assert t.grad.eq(2).all()


def test_sixteen_bit_png_keeps_its_depth():
    a = noise(0, np.uint16)
    picture = open_image(stored(Image.fromarray(a)))
    back = picture.restore(picture.rgb)
    assert back.mode == "I;16" and np.array_equal(np.asarray(back), a)
    assert "I;16" in picture.notes[0]


@pytest.mark.parametrize("mode, comes_back", [
    ("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB"), ("LAB", "RGB"), ("RGBX", "RGB"),
    ("PA", "RGBA"), ("RGBa", "RGBA"), ("La", "LA")])
def test_every_mode_has_a_way_in(mode, comes_back):
    image = Image.new(mode, SIZE) if mode in ("LAB", "PA", "RGBa", "La") else Image.fromarray(noise(3)).convert(mode)
    picture = open_image(image)
    check(picture)
    back = picture.restore(picture.rgb)
    assert back.mode == comes_back and back.size == SIZE
    assert np.array_equal(np.asarray(back), np.asarray(open_image(back).restore(open_image(back).rgb)))
    if mode in ("1", "P", "CMYK"):
        assert np.array_equal(np.asarray(back), np.asarray(image.convert(comes_back)))


def test_palette_with_transparency_keeps_it():
    image = Image.fromarray(noise(3)).quantize(8)
    image.info["transparency"] = 2
    picture = open_image(stored(image))
    alpha = np.asarray(image) != 2
    assert np.array_equal(picture.alpha[0].numpy() > 0.5, alpha)
    back = picture.restore(torch.zeros_like(picture.rgb))
    assert back.mode == "RGBA" and np.array_equal(np.asarray(back)[..., 3] > 127, alpha)


def test_a_transparent_colour_of_an_rgb_png_becomes_alpha():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0] = 255
    picture = open_image(stored(Image.fromarray(pixels), transparency=(0, 0, 0)))
    assert picture.alpha[0, 0].eq(1).all() and picture.alpha[0, 1:].eq(0).all()


def test_grey_stays_grey_after_an_edit_in_colour():
    picture = open_image(Image.fromarray(noise(0)))
    edit = picture.rgb.clone()
    edit[0] = 1
    assert picture.restore(edit).mode == "L"


def test_cmyk_uses_its_profile_and_survives_a_bad_one():
    image = Image.new("CMYK", SIZE, (200, 20, 0, 10))
    plain = open_image(stored(image, "JPEG", quality=100)).rgb
    broken = open_image(stored(image, "JPEG", quality=100, icc_profile=b"not a profile")).rgb
    assert torch.equal(plain, broken)


def test_the_colour_profile_is_handed_on():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = open_image(stored(Image.fromarray(noise()), icc_profile=profile))
    assert picture.restore(picture.rgb).info["icc_profile"] == profile


# -- rotation and animation -------------------------------------------------------------------------------------------
def with_orientation(image, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored(image, exif=exif, **options)


BACK = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: a.swapaxes(0, 1)[:, ::-1]}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_end_upright(orientation):
    upright = noise()
    lying = np.ascontiguousarray(BACK[orientation](upright))
    picture = open_image(with_orientation(Image.fromarray(lying), orientation))
    back = picture.restore(picture.rgb)
    assert np.array_equal(np.asarray(back), upright)
    assert back.getexif().get(0x0112, 1) == 1
    assert any("upright" in n for n in picture.notes) == (orientation > 1)


def test_a_damaged_exif_block_is_ignored():
    data = stored(Image.fromarray(noise()), "JPEG", exif=b"Exif\x00\x00" + b"\xff" * 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(open_image(data))


def test_the_first_frame_of_an_animation_is_taken_and_said():
    frames = [Image.new("RGB", SIZE, c) for c in ("red", "green", "blue")]
    picture = open_image(stored(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert picture.rgb[:, 0, 0].tolist() == [1, -1, -1] and "first of 3 frames" in picture.notes


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_photo_formats_from_a_path(tmp_path, format):
    path = tmp_path / "a picture"
    Image.fromarray(noise()).save(path, format)
    check(open_image(path))
    check(open_image(str(path)))


def test_the_callers_image_is_left_alone():
    image = Image.fromarray(noise()).quantize(8)
    before = image.mode, image.size, image.tobytes()
    open_image(image)
    assert (image.mode, image.size, image.tobytes()) == before


# -- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_a_truncated_file_names_itself(tmp_path, format):
    data = stored(Image.fromarray(noise(size=(40, 40))), format)
    path = tmp_path / "cut.img"
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(data[:int(len(data) * share)])
        with pytest.raises(ValueError, match="cut.img.*(damaged|not a picture)"):
            open_image(path)


@given(st.binary(max_size=200), st.sampled_from(["", "PNG", "JPEG", "GIF"]), st.integers(0, 60))
def test_garbage_never_raises_anything_else(junk, start, keep):
    data = (stored(Image.fromarray(noise()), start)[:keep] if start else b"") + junk
    try:
        check_any = open_image(data)
    except ValueError as e:
        assert "the image of" in str(e)
    else:
        assert check_any.rgb.ndim == 3


def test_files_that_are_none(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(ValueError, match="empty.jpg.*0 bytes"):
        open_image(empty)
    with pytest.raises(ValueError, match="0 bytes"):
        open_image(b"")
    with pytest.raises(FileNotFoundError, match="nowhere.png.*check"):
        open_image(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="folder"):
        open_image(tmp_path)
    with pytest.raises(ValueError, match="not a picture"):
        open_image(b"%PDF-1.7 ...")
    with pytest.raises(ValueError, match="HEIC.*JPEG"):
        open_image(b"\x00\x00\x00\x18ftypheic" + b"\x00" * 40)
    with pytest.raises(ValueError, match="not a picture"):
        open_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(TypeError, match="list"):
        open_image([[1, 2], [3, 4]])


def png_header(width, height):
    "A PNG that claims a size and holds nothing."
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + body
        + struct.pack(">I", zlib.crc32(body))
        + b"\x00\x00\x00\x00IDAT\x35\xaf\x06\x1e"
    )


@pytest.mark.parametrize("width, height", [(9000, 9000), (30_000, 30_000), (2**31 - 1, 2)])
def test_huge_files_are_refused_by_their_header(width, height):
    with pytest.raises(ValueError, match="large|max_pixels.*smaller"):
        open_image(png_header(width, height))


def test_max_pixels_is_the_readers_choice():
    image = Image.fromarray(noise())
    with pytest.raises(ValueError, match=r"11×7.*max_pixels = 76"):
        open_image(image, max_pixels=76)
    assert open_image(image, max_pixels=77) and 77 < MAX_PIXELS


@pytest.mark.parametrize("a, says", [
    (np.zeros((5, 5), np.int64), "int64.*uint8"), (np.zeros((5, 5), bool), "bool"),
    (np.zeros((3, 9, 9)), r"transpose\(1, 2, 0\)"), (np.zeros((9, 9, 2)), "9×9×2"),
    (np.zeros((2, 9, 9, 3)), "one picture"), (np.zeros(9), "9 is no picture"), (np.zeros((0, 9, 3)), "no pixels"),
    (np.full((5, 5), np.nan), "NaN"), (np.full((5, 5), 200.0), "200.*divide"), (np.full((5, 5), -1.0), "-1"),
    (np.array([[np.inf, 0]]), "infinity")])
def test_arrays_that_cannot_be_meant(a, says):
    with pytest.raises(ValueError, match=says):
        open_image(a)


@pytest.mark.parametrize("t, says", [
    (torch.zeros(3, 4, 4, dtype=torch.uint8), "127.5"), (torch.zeros(2, 3, 4, 4), "one picture"),
    (torch.zeros(4, 4), "4×4"), (torch.zeros(4, 4, 3), "4×4×3"), (torch.full((3, 4, 4), 255.0), "127.5"),
    (torch.full((3, 4, 4), torch.nan), "NaN"), (torch.zeros(3, 0, 4), "no pixels")])
def test_tensors_that_cannot_be_meant(t, says):
    with pytest.raises(ValueError, match=says):
        open_image(t)


def test_restore_refuses_another_size_and_nan():
    picture = open_image(noise())
    with pytest.raises(ValueError, match="3×7×11.*3×8×8.*resize"):
        picture.restore(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="NaN"):
        picture.restore(torch.full_like(picture.rgb, torch.nan))


@pytest.mark.parametrize("name, answer", [
    ("a.jpg", True), ("folder/b.PNG", True), ("scan.Tiff", True), (".hidden.jpg", False), ("jpg", False),
    ("a.csv", False), ("a.jpg.part", False)])
def test_a_name_says_whether_it_is_a_picture(tmp_path, name, answer):
    assert is_picture(name) is answer and is_picture(tmp_path / name) is answer
