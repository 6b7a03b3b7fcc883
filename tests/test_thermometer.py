"""Photographs into the frame, folders of strangers, the fixed measurement (lesson 14b). No photograph is needed: drawings stand in."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

from expr_course.data import draw_faces, face_numbers
from expr_course.labels import IGNORE, remap
from expr_course.pretrained import load_network, save_network
from expr_course.recipe import load_recipe
from expr_course.thermometer import QuickUNet, face_square, into_frame, main, photographs, read_pairs, score_photographs
from expr_course.train import run
from expr_course.plots import to_uint8


@pytest.fixture(scope="module")
def faces(): return draw_faces(face_numbers("val", 4, 0, 12), 96)


@pytest.fixture
def folder(tmp_path, faces): return write(tmp_path / "photographs", faces["image"], faces["labels"])


def write(folder, images, labels, ending="jpg"):
    for part in ("images", "labels"): (folder / part).mkdir(parents=True)
    for k, (x, y) in enumerate(zip(images, labels)):
        Image.fromarray(to_uint8(x)[0]).save(folder / "images" / f"{k:03d}.{ending}")
        Image.fromarray(y.numpy().astype(np.uint8)).save(folder / "labels" / f"{k:03d}.png")
    return folder


def test_identity_square_changes_nothing(faces):
    x, y = faces["image"][0], faces["labels"][0]
    framed, named = into_frame(x, y, (47.5, 47.5, 48.0, 0.0), 96)
    assert torch.equal(named, y) and (framed - x).abs().mean() < 0.05


def test_quarter_turn_and_outside(faces):
    x, y = faces["image"][0], faces["labels"][0]
    _, named = into_frame(x, y, (47.5, 47.5, 48.0, np.pi / 2), 96)
    assert torch.equal(named, torch.rot90(y, 1, (0, 1))) or torch.equal(named, torch.rot90(y, -1, (0, 1)))
    _, wide = into_frame(x, y, (47.5, 47.5, 96.0, 0.0), 96)
    assert (wide == IGNORE).float().mean() == pytest.approx(0.75, abs=0.02) and torch.equal(wide[24:72, 24:72] == IGNORE, torch.zeros(48, 48, dtype=torch.bool))


def test_turned_face_is_brought_upright(faces):
    y = faces["labels"]
    squares = [face_square(m) for m in y]
    assert all(squares) and all(abs(s[3]) < 0.25 for s in squares), "drawn faces are nearly upright"
    assert all(0.8 * 48 < s[2] < 1.25 * 48 for s in squares), "and nearly in their frame"
    big = torch.rot90(y[0], 1, (0, 1))
    turned = face_square(big)
    upright = into_frame(torch.zeros(3, 96, 96), big, turned, 96)[1]
    same = into_frame(torch.zeros(3, 96, 96), y[0], squares[0], 96)[1]
    assert (upright == same).float().mean() > 0.97 or (torch.rot90(upright, 2, (0, 1)) == same).float().mean() > 0.97


def test_crossed_sides_and_hidden_eyes(faces):
    y = faces["labels"][0]
    from expr_course.labels import mirror_table
    assert face_square(mirror_table()[y]) == face_square(y), "sides may be named the wrong way round"
    hidden = torch.where((y == 4) | (y == 5), 3, y)
    near, true = face_square(hidden), face_square(y)
    assert abs(near[2] - true[2]) < 0.25 * true[2] and abs(near[0] - true[0]) < 6
    assert face_square(torch.ones(8, 8, dtype=torch.long)) is None


def test_a_folder_is_read(folder, faces):
    found = photographs(folder, 64)
    assert found["image"].shape == (12, 3, 64, 64) and found["labels"].shape == (12, 64, 64) and found["names"] == [f"{k:03d}" for k in range(12)]
    assert photographs(folder, 64, first=2, count=3)["names"] == ["002", "003", "004"]


def test_the_other_order(tmp_path, faces):
    other = write(tmp_path / "other", faces["image"], remap(faces["labels"], "official", "second"))
    with pytest.raises(ValueError, match="look like the second"): photographs(other, 64)
    own = photographs(write(tmp_path / "own", faces["image"], faces["labels"]), 64)
    assert torch.equal(photographs(other, 64, order="second")["labels"], own["labels"])


def test_larger_pictures_are_reduced_and_others_refused(tmp_path, faces):
    large = write(tmp_path / "large", torch.nn.functional.interpolate(faces["image"], scale_factor=2), faces["labels"])
    assert next(read_pairs(large))[1].shape == (3, 96, 96)
    odd = write(tmp_path / "odd", faces["image"][..., :60], faces["labels"])
    with pytest.raises(ValueError, match=r"000.png.*96×60 pixels and its labels 96×96"): list(read_pairs(odd))


def test_bad_folders(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="no folder images"): list(read_pairs(tmp_path))
    (folder / "images" / "003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="003.png has no picture"): list(read_pairs(folder))
    Image.new("L", (96, 96), 77).save(folder / "labels" / "000.png")
    with pytest.raises(ValueError, match="000.png.*outside 0 to 18"): list(read_pairs(folder))
    Image.new("RGB", (96, 96)).save(folder / "labels" / "000.png")
    with pytest.raises(ValueError, match="3 channels"): list(read_pairs(folder))
    for path in (folder / "labels").iterdir(): path.unlink()
    with pytest.raises(FileNotFoundError, match="is empty"): list(read_pairs(folder))


def test_quick_unet():
    network = QuickUNet(8).eval()
    assert network(torch.zeros(1, 3, 64, 96)).shape == (1, 19, 64, 96) and sum(p.numel() for p in QuickUNet().parameters()) < 1_000_000
    with pytest.raises(ValueError, match="resize to"): network(torch.zeros(1, 3, 50, 64))


def test_mirror_image_is_averaged_in(faces):
    network = QuickUNet(4).eval()
    pairs = {"image": faces["image"], "labels": faces["labels"]}
    flipped = {"image": faces["image"].flip(-1), "labels": faces["labels"]}
    assert score_photographs(network, pairs)["pictures"] == 12
    from expr_course.labels import mirror_labels
    assert score_photographs(network, {"image": flipped["image"], "labels": mirror_labels(faces["labels"])})["accuracy"] == pytest.approx(
        score_photographs(network, pairs)["accuracy"], abs=1e-3), "the mirrored question has the mirrored answer"


def test_the_measurement_and_the_command(tmp_path, folder, capsys):
    s = load_recipe("thermometer", "smoke") | dict(photographs=str(folder), size=32, width=4, steps=3, faces=32, cases=8, tests=8, device="cpu", save_every=3)
    card = run(s, tmp_path / "run")
    assert card["scores"].keys() == {"drawn", "photographs"} and card["scores"]["photographs"]["pictures"] == 12
    assert main([str(folder), "--weights", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == card["scores"]["photographs"]
    assert main([str(folder), "--weights", str(tmp_path / "run"), "--count", "3"]) == 0 and "mIoU 7" in capsys.readouterr().out
    assert main([str(tmp_path / "none"), "--weights", str(tmp_path / "run")]) == 2 and "no folder images" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError): run(s | {"photographs": "nowhere"}, tmp_path / "not")
    assert not (tmp_path / "not" / "checkpoints").exists(), "misspelt folders are found before the training"


def test_without_photographs(tmp_path):
    s = load_recipe("thermometer", "smoke") | dict(size=32, width=4, steps=3, faces=32, cases=8, tests=8, device="cpu", save_every=3)
    assert run(s, tmp_path / "run")["scores"].keys() == {"drawn"}


def test_weights_of_another_kind(tmp_path, folder):
    save_network(tmp_path / "parser.safetensors", QuickUNet(4), size=64)
    assert load_network(tmp_path / "parser.safetensors")[1]["network"] == "QuickUNet"
    assert main([str(folder), "--weights", str(tmp_path)]) == 0
