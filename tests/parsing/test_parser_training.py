"""Augmentation, the system, and parsers trained by recipe (lesson 13d)."""
import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expr_course.data.augment import mirror_faces
from expr_course.data.sources import DrawnFaces, draw_faces, face_numbers
from expr_course.faces import LABELS, NAMES, sample_identities
from expr_course.parsing.photographs import ThermometerSettings
from expr_course.parsing.training import (CameraFaces, ParserSettings, ParserTraining, augment, camera_smiles, jewelled,
                                          make_network, measure, move_parser_faces, occlude, poly, shake_camera,
                                          shake_light)
from expr_course.parsing.unet import load_parser
from expr_course.training.callbacks import read_metrics
from expr_course.training.command import run_recipe
from expr_course.training.recipe import load_recipe
from expr_course.training.weights import WEIGHTS, load_network, read_card

TINY = dict(
    steps=4, faces=32, cases=8, tests=8, batch_size=8, width=4, size=32, device="cpu", measure_every=2, sample_every=4,
    save_every=2, log_every=2,
)


def settings(name="parse-unet", **changes):
    return load_recipe(name, "smoke") | TINY | changes


@pytest.fixture(scope="module")
def batch():
    return draw_faces(face_numbers("train", 0, 0, 8), 64)


def test_poly():
    schedule = poly()
    values = [schedule(k / 100) for k in range(101)]
    assert (
        values[0] == 1
        and values[-1] == 0
        and values == sorted(values, reverse=True)
        and schedule(0.5) == pytest.approx(0.5**0.9)
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    theirs = torch.optim.lr_scheduler.PolynomialLR(optimizer, 100, 0.9)
    for k in range(100):
        assert schedule(k / 100) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_at_rest_nothing_moves(batch):
    torch.manual_seed(0)
    image, labels = batch["image"], batch["labels"]
    _, new = move_parser_faces(image, labels, 0.0, 0.0, 0.0)
    for k in range(len(image)):     # aspect still varies a little, and half are mirrored
        same = (new[k] == labels[k]).float().mean()
        assert same > 0.75 or (new[k].flip(-1) != labels[k]).float().mean() < 0.3


@given(st.integers(0, 10**6))
def test_sides_stay_sides(batch_seed):
    torch.manual_seed(batch_seed)
    b = draw_faces(face_numbers("train", 1, 0, 4), 64)
    x = torch.arange(64.0)
    _, new = move_parser_faces(b["image"], b["labels"], turn=0.2, zoom=0.1, shift=0.05)
    def where(y, k):
        return ((y == k).sum(-2) * x).sum(-1) / (y == k).sum((-1, -2))
    left, right = where(new, LABELS.index("l_brow")), where(new, LABELS.index("r_brow"))
    both = ~(left.isnan() | right.isnan())
    assert (left > right)[both].all(), "the person's left brow lies on the right of the picture, mirrored or not"


@given(st.integers(0, 10**6))
def test_augmented_is_valid(seed):
    b = draw_faces(face_numbers("train", 2, 0, 4), 32)
    torch.manual_seed(seed)
    x, y = augment(b["image"], b["labels"])
    assert x.shape == b["image"].shape and y.shape == b["labels"].shape and y.dtype == torch.long
    assert x.isfinite().all() and x.abs().max() <= 1 and 0 <= y.min() and y.max() <= 18
    torch.manual_seed(seed)
    again = augment(b["image"], b["labels"])
    assert torch.equal(x, again[0]) and torch.equal(y, again[1]), "the same random numbers, the same pictures"


@given(st.integers(0, 10**6))
def test_a_share_of_the_pictures_is_augmented_and_the_others_are_at_most_mirrored(seed):
    b = draw_faces(face_numbers("train", 2, 0, 4), 32)
    torch.manual_seed(seed)
    x, y = augment(b["image"], b["labels"], share=0.0)
    swapped = mirror_faces({"image": b["image"], "labels": b["labels"]})
    for k in range(4):
        as_drawn, mirrored = torch.equal(x[k], b["image"][k]), torch.equal(x[k], swapped["image"][k])
        assert as_drawn or mirrored
        assert torch.equal(y[k], (b if as_drawn else swapped)["labels"][k])


def test_half_of_a_large_batch_is_augmented_and_the_source_stays():
    image, labels = torch.zeros(400, 3, 8, 8), torch.zeros(400, 8, 8, dtype=torch.long)
    torch.manual_seed(0)
    x, _ = augment(image, labels, share=0.5)
    assert 150 < (x != 0).flatten(1).any(1).sum() < 250 and not image.any(), "the batch that came in is not written to"


def test_picture_and_labels_move_together(batch):
    torch.manual_seed(3)
    painted = batch["labels"][:, None].float().expand(-1, 3, -1, -1) / 9 - 1     # labels as a picture
    moved, new = move_parser_faces(painted, batch["labels"].clone())
    unsided = {4: 5, 6: 7, 8: 9}
    def fold(y):
        return torch.stack([torch.where(y == a, b, y) for a, b in unsided.items()]).amax(0)
    agree = (((moved[:, 0] + 1) * 9).round().long() - new).abs() <= 1
    assert agree.float().mean() > 0.85 and fold(new).max() <= 18


def test_occluders_are_background(batch):
    torch.manual_seed(0)
    x, y = occlude(batch["image"] / 2 + 0.5, batch["labels"], share=1.0)
    changed = (x != batch["image"] / 2 + 0.5).any(1)
    assert changed.any() and (y[changed] == 0).all() and torch.equal(y[~changed], batch["labels"][~changed])
    for shake in (shake_light, shake_camera):
        assert shake(batch["image"] / 2 + 0.5).isfinite().all()


@pytest.mark.parametrize("net", ["ParsingUNet", "BiSeNet", "QuickUNet"])
def test_terms_of_every_network(batch, net):
    torch.manual_seed(0)
    system = ParserTraining(ParserSettings(net=net, width=8, stride=4, hard=1.0), batch, torch.ones(19))
    (name, terms), = system.phases(batch, 0)
    expected = {"entropy", "dice", "hard"} | ({"aux/entropy", "aux/dice", "aux/hard"} if net == "BiSeNet" else set())
    assert name == "parser" and set(terms) == expected
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in system.network.parameters())
    assert system.eval().samples().shape == (24, 3, 64, 64)


def test_weights_of_the_terms(batch):
    def terms(**weights):
        torch.manual_seed(0)
        return next(ParserTraining(ParserSettings(width=4, shake=0.0, **weights), batch).phases(batch, 0))[1]
    once, twice = terms(hard=1.0), terms(entropy=2.0, dice=2.0, hard=2.0)
    assert all(torch.isclose(twice[name], 2 * value) for name, value in once.items()) and len(once) == 3
    assert set(terms(dice=0.0)) == {"entropy"}


def test_networks_come_from_the_registry():
    assert type(make_network(ParserSettings(net="BiSeNet", width=4, stride=2))).__name__ == "BiSeNet"
    with pytest.raises(ValueError, match="unknown network 'os.system'"):
        make_network(ParserSettings(net="os.system"))


@pytest.mark.parametrize("name", ["parse-unet", "parse-bisenet"])
def test_bundled_weights_have_the_scores_on_their_card(name):
    parser, card = load_parser(WEIGHTS / name), read_card(WEIGHTS / name)
    test = DrawnFaces("test", 128, 32, 0).batch(0)     # the first 32 of the card's 512
    found = measure(parser.network, test["image"], test["labels"])
    recorded = card["scores"]["drawn"]
    assert found["accuracy"] == pytest.approx(recorded["accuracy"], abs=0.005)
    assert found["miou9"] == pytest.approx(recorded["miou9"], abs=0.02)


def test_training_learns_and_leaves_everything(tmp_path):
    card = run_recipe(
        settings(steps=60, shake=0.0, width=8, rate=5e-3, ema=0.9, log_every=20, measure_every=30, save_every=60),
        tmp_path / "run",
    )
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert lines[-1]["parser/entropy"] < 0.8 * lines[0]["parser/entropy"]
    assert {"val/miou19", "val/miou9", "val/miou7", "val/boundary", "val/accuracy"} <= set(lines[-1])
    s = card["scores"]["drawn"]
    assert (
        s["pictures"] == 8
        and s["accuracy"] > 0.5
        and list(s["classes"]) == list(LABELS)
        and card["network"]["width"] == 8
    )
    assert json.loads((tmp_path / "run" / "card.json").read_text())["scores"] == card["scores"]
    parser, test = load_parser(tmp_path / "run"), draw_faces(face_numbers("test", 0, 0, 8), 32)
    assert parser.size == 32 and measure(parser.network, test["image"], test["labels"]) == s, (
        "the stored weights have the scores on the card"
    )


@pytest.mark.parametrize("name", ["parse-unet", "parse-bisenet"])
def test_stopped_and_continued_gives_the_same_bits(tmp_path, name):
    s = settings(name, width=8)
    run_recipe(s, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    for gone in ("card.json", "parser.safetensors"):
        (tmp_path / "parts" / gone).unlink()
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "step-000004")     # as if killed after step 2
    run_recipe(s, tmp_path / "parts", resume=True)
    whole, parts = (load_network(tmp_path / k / "parser.safetensors")[0].state_dict() for k in ("whole", "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_unknown_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'dice'"):
        run_recipe(settings() | {"dicee": 1.0}, tmp_path / "run")


@pytest.mark.parametrize("name", ["parse-unet", "parse-bisenet", "thermometer"])
@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_recipes_are_complete(name, profile):
    """Every setting of a recipe is a field, of the type of its default, and the network exists."""
    recipe = load_recipe(name, profile)
    read = (ThermometerSettings if name == "thermometer" else ParserSettings).from_recipe(recipe)
    assert {key: getattr(read, key) for key in recipe} == recipe
    make_network(read)


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        ParserSettings().width = 64
    with pytest.raises(ValueError, match="width is '16'"):
        ParserSettings.from_recipe({"width": "16"})


def test_camera_smiles():
    """The share that is asked for smiles, the same for the same seed; brows stay; nobody loses a closed eye; values
    stay AUs."""
    from expr_course.action_units import au_index, check_aus, sample_aus
    aus = sample_aus(400, 3)
    smiles = camera_smiles(aus, 0.45, 1)
    check_aus(smiles)
    assert torch.equal(smiles, camera_smiles(aus, 0.45, 1)) and not torch.equal(smiles, camera_smiles(aus, 0.45, 2))
    changed = (smiles != aus).flatten(1).any(1)
    assert 0.35 < changed.float().mean() < 0.55 and (smiles[changed, au_index("AU12")] >= 0.4).all()
    for name in ("AU01", "AU02", "AU04", "AU45"):
        assert torch.equal(smiles[:, au_index(name)], aus[:, au_index(name)])
    assert 0.6 < (smiles[changed, au_index("AU25")] > 0).float().mean() < 0.95
    assert torch.equal(camera_smiles(aus, 0.0, 1), aus)


def test_smiling_faces_are_a_source_like_others():
    source, again = (CameraFaces("train", 32, 8, seed=2, smiles=0.5) for _ in range(2))
    assert torch.equal(source.batch(3)["image"], again.batch(3)["image"])
    usual = DrawnFaces("train", 32, 8, seed=2).batch(3)
    assert torch.equal(source.batch(3)["identity"], usual["identity"]) and not torch.equal(
        source.batch(3)["aus"], usual["aus"]
    )
    assert source.settings() != CameraFaces("train", 32, 8, seed=2, smiles=0.1).settings()


def test_jewels():
    """About the share that is asked for has put something on, and nothing else about anybody has changed; everyone's
    own jewels stay."""
    crowd = sample_identities(400, 3)
    dressed = jewelled(crowd, 0.4, 1)
    others = [k for k, name in enumerate(NAMES) if name not in ("earring", "necklace")]
    assert torch.equal(dressed.values[:, others], crowd.values[:, others]) and torch.equal(
        dressed.textures, crowd.textures
    )
    changed = dressed["earring"] != crowd["earring"]
    assert (
        0.3 < changed.float().mean() < 0.5
        and (dressed["earring"][changed] >= 0.3).all()
        and (dressed["necklace"][changed] >= 0.45).all()
    )
    assert torch.equal(dressed["necklace"][~changed], crowd["necklace"][~changed])
    assert torch.equal(jewelled(crowd, 0.0, 1).values, crowd.values)
    def gold(source):
        return (source.batch(0)["labels"] == LABELS.index("ear_r")).sum()
    assert gold(CameraFaces("train", 64, 48, smiles=0.0, jewels=1.0)) > 2 * gold(
        CameraFaces("train", 64, 48, smiles=0.0, jewels=0.0)
    )
