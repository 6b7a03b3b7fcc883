"""The command `expr-edit`: photographs, crops, folders, and damaged files."""
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from toy_editor import stored

from expr_course.data.crops import Crop, cut
from expr_course.editing import ExpressionEditor
from expr_course.photos.command import main, pairs
from expr_course.photos.paste import edit_photo
from expr_course.photos.places import portrait_wall
from expr_course.plots import to_pil


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


def pixels_of(path):
    return np.asarray(Image.open(path))


def test_a_photograph_on_the_command_line(run, folder, pixels):
    photo = folder / "in" / "photo.png"
    status, out, err = run(photo, folder / "a.png", "AU12=+0.9", "AU06=0.5")
    assert status == 0 and err == "" and "a face of" in out and "AU12 +0.90" in out
    result = Image.open(folder / "a.png")
    assert result.size == (320, 260) and "AU12 +0.90" in result.text["Comment"]
    assert not np.array_equal(np.asarray(result), pixels) and np.array_equal(np.asarray(result)[:20], pixels[:20])
    assert run(photo, folder / "z.png", "AU12=0")[0] == 0 and np.array_equal(pixels_of(folder / "z.png"), pixels)


def test_box_face_and_whole(run, folder, face, pixels):
    photo = folder / "in" / "photo.png"
    box = [str(v) for v in face.box]
    assert run(photo, folder / "b.png", "--box", *box, "AU12=0.9")[0] == 0     # options may stand before the AUs
    for name, words in (("c", ["--face", "0"]), ("d", ["--face", "all"]), ("w", ["--whole"])):
        assert run(photo, folder / f"{name}.png", "AU12=0.9", *words)[0] == 0
    c, d, w = (pixels_of(folder / f"{name}.png") for name in "cdw")
    assert not np.array_equal(w, c) and np.array_equal(c, d)
    status, _, err = run(photo, folder / "e.png", "AU12=0.9", "--face", "3")
    assert status == 2 and "face 3" in err and not (folder / "e.png").exists()
    for words in (["--face", "x"], ["--face", "-1"], ["--face", "0", "--whole"], ["--box", "1", "2"]):
        with pytest.raises(SystemExit) as stop:
            run(photo, folder / "e.png", "AU12=0.9", *words)
        assert stop.value.code == 2


def test_a_crop_is_edited_in_the_frame_that_is_found(weights, run, tmp_path):
    portrait, _ = portrait_wall(((1006, 64, 64, 128, 0),), 128, 128)
    high = cut(portrait, Crop(63.5, 70.0, 56.0), 124)     # cropped by hand: the face is too high in it
    to_pil(high).save(tmp_path / "crop.png")
    status, out, err = run(tmp_path / "crop.png", tmp_path / "new.png", "AU12=0.9")
    assert status == 0 and "a face of" in out, err
    expected = edit_photo(ExpressionEditor.from_pretrained(weights), tmp_path / "crop.png", {"AU12": 0.9})
    assert np.array_equal(pixels_of(tmp_path / "new.png"), np.asarray(expected))


def test_the_centred_square_where_it_is_asked_for_or_nothing_is_found(weights, run, tmp_path):
    portrait, _ = portrait_wall(((1006, 64, 64, 128, 0),), 128, 128)
    to_pil(cut(portrait, Crop(63.5, 63.5, 62.0), 124)).save(tmp_path / "crop.png")
    status, out, err = run(tmp_path / "crop.png", tmp_path / "new.png", "AU12=0.9", "--whole")
    assert status == 0 and "a face of" not in out, err
    expected = ExpressionEditor.from_pretrained(weights).edit(tmp_path / "crop.png", {"AU12": 0.9})
    assert np.array_equal(pixels_of(tmp_path / "new.png"), np.asarray(expected))
    to_pil(-torch.ones(3, 64, 64)).save(tmp_path / "small.png")
    status, out, _ = run(tmp_path / "small.png", tmp_path / "s.png", "AU12=0.9")
    assert status == 0 and "taken for a crop" in out
    to_pil(-torch.ones(3, 300, 400)).save(tmp_path / "large.png")
    status, _, err = run(tmp_path / "large.png", tmp_path / "l.png", "AU12=0.9")
    assert status == 2 and "no face was found" in err and "box" in err and not (tmp_path / "l.png").exists()


def test_a_folder_with_bad_files(run, folder, pixels):
    (folder / "in" / "broken.png").write_bytes((folder / "in" / "photo.png").read_bytes()[:4000])
    (folder / "in" / "notes.txt").write_text("milk")
    Image.fromarray(pixels).save(folder / "in" / "photo.jpg", quality=95)
    (folder / "in" / "deeper").mkdir()
    status, out, err = run(folder / "in", folder / "out", "AU12=0.9")
    assert status == 1 and err.count("\n") == 1 and "broken.png" in err and "[1/3]" in err
    assert "2 of 3 pictures edited" in out and "1 file left out" in out
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
    assert run(folder / "in" / "photo.png", folder / "out", "AU12=0.9")[0] == 0
    assert (folder / "out" / "photo.png").is_file()


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
    assert out.size == (320, 260) and out.info["icc_profile"] == profile and not out.getexif()
    assert (np.asarray(out)[..., 3] == 50).all()


def test_as_a_command(weights, tmp_path):
    """In a process of its own: help, one line on stderr, exit status 2."""
    command = [sys.executable, "-m", "expr_course.photos.command"]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert helped.returncode == 0 and "--face" in helped.stdout and "AU12=+0.8" in helped.stdout
    words = [str(tmp_path / "none.png"), str(tmp_path / "out.png"), "AU12=-0.3", "--weights", str(weights)]
    failed = subprocess.run([*command, *words], capture_output=True, text=True)
    assert failed.returncode == 2 and failed.stderr.count("\n") == 1
    assert "none.png" in failed.stderr and "Traceback" not in failed.stderr


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
