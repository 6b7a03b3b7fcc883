"""Photographs into the frame, folders of strangers, the fixed measurement (lesson 14b). No photograph is needed:
drawings stand in."""
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from expr_course.data.augment import mirror_labels
from expr_course.data.label_maps import to_order
from expr_course.data.sources import draw_faces, face_numbers
from expr_course.parsing.labels import IGNORE
from expr_course.parsing.photographs import (QuickUNet, fine_tune, fine_tuning_curve, framed_pair, main, pair_files,
                                             photographs, score_photographs)
from expr_course.plots import to_uint8
from expr_course.training.command import run_recipe
from expr_course.training.recipe import load_recipe
from expr_course.training.weights import load_network, save_network


@pytest.fixture(scope="module")
def faces():
    return draw_faces(face_numbers("val", 4, 0, 12), 96)


@pytest.fixture
def folder(tmp_path, faces):
    return write(tmp_path / "photographs", faces["image"], faces["labels"])


def write(folder, images, labels, ending="jpg"):
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for k, (x, y) in enumerate(zip(images, labels)):
        Image.fromarray(to_uint8(x)[0]).save(folder / "images" / f"{k:03d}.{ending}")
        Image.fromarray(y.numpy().astype(np.uint8)).save(folder / "labels" / f"{k:03d}.png")
    return folder


def numbers(labels):
    return labels.to(torch.uint8).numpy()


def test_drawn_faces_are_nearly_in_their_frame(faces):
    framed = [framed_pair(x, numbers(y), 96) for x, y in zip(faces["image"], faces["labels"])]
    named = torch.stack([y for _, y in framed])
    assert (named == faces["labels"])[named != IGNORE].float().mean() > 0.75 and (named == IGNORE).float().mean() < 0.15


def test_a_turned_face_is_brought_upright_and_what_nobody_labelled_is_ignored(faces):
    x, y = faces["image"][0], numbers(faces["labels"][0])
    wide = torch.nn.functional.pad(x, (60, 60, 60, 60)), np.pad(y, 60)
    straight = framed_pair(*wide, 96)
    angle = 25.0
    turned = (torch.from_numpy(np.array(Image.fromarray(wide[1]).rotate(angle))),
              torch.stack([torch.from_numpy(np.array(Image.fromarray(c.numpy()).rotate(angle))) for c in wide[0]]))
    upright = framed_pair(turned[1], turned[0].numpy(), 96)
    assert (upright[1] == straight[1]).float().mean() > 0.93
    tight = framed_pair(x[:, 20:, 20:-20], y[20:, 20:-20].copy(), 96)[1]
    assert 0.1 < (tight == IGNORE).float().mean() < 0.7 and (tight[40:60, 40:60] != IGNORE).all()


def test_sides_may_be_named_the_wrong_way_round(faces):
    x, y = faces["image"][0], faces["labels"][0]
    crossed = mirror_labels(y.flip(-1))
    assert torch.equal(framed_pair(x, numbers(crossed), 96)[0], framed_pair(x, numbers(y), 96)[0])


def test_labels_of_half_the_size_are_fitted(faces):
    x, y = faces["image"][0], numbers(faces["labels"][0])
    large = torch.nn.functional.interpolate(x[None], scale_factor=2)[0]
    assert (framed_pair(large, y, 96)[1] == framed_pair(x, y, 96)[1]).float().mean() > 0.97
    with pytest.raises(ValueError, match="cannot lie on each other"):
        framed_pair(x[..., :60], y, 96)


def test_a_folder_is_read(folder, faces):
    found = photographs(folder, 64)
    assert (
        found["image"].shape == (12, 3, 64, 64)
        and found["labels"].shape == (12, 64, 64)
        and found["names"] == [f"{k:03d}" for k in range(12)]
    )
    assert photographs(folder, 64, first=2, count=3)["names"] == ["002", "003", "004"]


def test_the_other_order(tmp_path, faces):
    other = write(
        tmp_path / "other", faces["image"],
        torch.stack([torch.from_numpy(to_order(numbers(y), "second")) for y in faces["labels"]]),
    )
    with pytest.raises(ValueError, match="Say order 'second'"):
        photographs(other, 64)
    own = photographs(write(tmp_path / "own", faces["image"], faces["labels"]), 64)
    assert torch.equal(photographs(other, 64, order="second")["labels"], own["labels"])


def test_bad_folders(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="no folder images"):
        pair_files(tmp_path)
    with pytest.raises(FileNotFoundError, match="from number 12 on"):
        pair_files(folder, first=12)
    Image.new("L", (96, 96), 77).save(folder / "labels" / "005.png")
    with pytest.raises(ValueError, match="005.png.*0 to 18"):
        photographs(folder, 64)
    Image.new("L", (60, 96), 1).save(folder / "labels" / "005.png")
    with pytest.raises(ValueError, match="005.png.*cannot lie on each other"):
        photographs(folder, 64)
    (folder / "images" / "003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="003.png has no picture"):
        pair_files(folder)
    for path in (folder / "labels").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no label maps"):
        pair_files(folder)


def test_quick_unet():
    network = QuickUNet(8).eval()
    assert (
        network(torch.zeros(1, 3, 64, 96)).shape == (1, 19, 64, 96)
        and sum(p.numel() for p in QuickUNet().parameters()) < 1_000_000
    )
    with pytest.raises(ValueError, match="resize to"):
        network(torch.zeros(1, 3, 50, 64))


def test_mirror_image_is_averaged_in(faces):
    network = QuickUNet(4).eval()
    pairs = {"image": faces["image"], "labels": faces["labels"]}
    flipped = {"image": faces["image"].flip(-1), "labels": faces["labels"]}
    assert score_photographs(network, pairs)["pictures"] == 12
    assert score_photographs(network, {"image": flipped["image"], "labels": mirror_labels(faces["labels"])})[
        "accuracy"
    ] == pytest.approx(score_photographs(network, pairs)["accuracy"], abs=1e-3), (
        "the mirrored question has the mirrored answer"
    )


def test_the_measurement_and_the_command(tmp_path, folder, capsys):
    s = load_recipe("thermometer", "smoke") | dict(
        photographs=str(folder), size=32, width=4, steps=3, faces=32, cases=8, tests=8, device="cpu", save_every=3
    )
    card = run_recipe(s, tmp_path / "run")
    assert card["scores"].keys() == {"drawn", "photographs"} and card["scores"]["photographs"]["pictures"] == 12
    assert main([str(folder), "--weights", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == card["scores"]["photographs"]
    assert (
        main([str(folder), "--weights", str(tmp_path / "run"), "--count", "3"]) == 0
        and "mIoU 7" in capsys.readouterr().out
    )
    assert (
        main([str(tmp_path / "none"), "--weights", str(tmp_path / "run")]) == 2
        and "no folder images" in capsys.readouterr().err
    )
    shell = subprocess.run(
        [
            sys.executable, "-m", "expr_course.parsing.photographs", str(folder), "--weights", str(tmp_path / "run"),
            "--json",
        ],
        capture_output=True,
        text=True,
    )
    assert shell.returncode == 0 and json.loads(shell.stdout)["pictures"] == 12, "as lesson and help say it: python -m"
    with pytest.raises(FileNotFoundError):
        run_recipe(s | {"photographs": "nowhere"}, tmp_path / "not")
    assert not (tmp_path / "not" / "checkpoints").exists(), "misspelt folders are found before the training"


def test_fine_tuning_learns_and_leaves_the_parser_that_it_was_given(faces):
    torch.manual_seed(0)
    network, pairs = (
        QuickUNet(4).eval(),
        {"image": faces["image"][:, :, ::3, ::3], "labels": faces["labels"][:, ::3, ::3]},
    )
    before = {k: v.clone() for k, v in network.state_dict().items()}
    rows = fine_tuning_curve(network, pairs, pairs, [0, 12], steps=60, rate=1e-2)
    assert [r["pairs"] for r in rows] == [0, 12] and rows[1]["scores"]["accuracy"] > rows[0]["scores"]["accuracy"] + 0.2
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items()) and rows[0][
        "scores"
    ] == score_photographs(network, pairs)
    again = [fine_tune(network, pairs, steps=2, seed=3).state_dict() for _ in range(2)]
    assert all(torch.equal(v, again[1][k]) for k, v in again[0].items()), "the same seed, the same parser"
    with pytest.raises(ValueError, match="only 12 are left"):
        fine_tuning_curve(network, pairs, pairs, [13])


def test_the_command_fine_tunes_on_the_photographs_that_it_does_not_test(tmp_path, folder, capsys):
    save_network(tmp_path / "parser.safetensors", QuickUNet(4), size=32)
    asked = [str(folder), "--weights", str(tmp_path), "--first", "4", "--fine-tune", "0"]
    assert main([*asked, "--json"]) == 0
    curve = json.loads(capsys.readouterr().out)["curve"]
    assert [e["pairs"] for e in curve] == [0] and curve[0]["scores"]["pictures"] == 8
    assert main(asked) == 0 and "0 pairs" in capsys.readouterr().out
    assert main([*asked[:3], "--fine-tune", "4"]) == 2 and "--first 100" in capsys.readouterr().err


def test_without_photographs(tmp_path):
    s = load_recipe("thermometer", "smoke") | dict(
        size=32, width=4, steps=3, faces=32, cases=8, tests=8, device="cpu", save_every=3
    )
    assert run_recipe(s, tmp_path / "run")["scores"].keys() == {"drawn"}


def test_weights_of_another_kind(tmp_path, folder):
    save_network(tmp_path / "parser.safetensors", QuickUNet(4), size=64)
    assert load_network(tmp_path / "parser.safetensors")[1]["network"] == "QuickUNet"
    assert main([str(folder), "--weights", str(tmp_path)]) == 0
