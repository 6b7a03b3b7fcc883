"""The estimator's training: crowded faces, labels that move with pictures, gradients, and a few steps that beat the
mean (lesson 07b)."""
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expr_course.action_units import AUS, N_AUS, RIVALS, au_index
from expr_course.data.sources import CachedFaces, draw_faces, face_numbers, mix_seed, split_of
from expr_course.measuring.estimator import crop_window, load_estimator, r2_scores, read_all
from expr_course.measuring.estimator_training import (BusyFaces, EstimatorSettings, EstimatorTraining, au_loss,
                                                      au_weights, busy_expressions, move_estimator_faces, score, shake)
from expr_course.training.command import run_recipe
from expr_course.training.learner import Learner
from expr_course.training.recipe import load_recipe, recipes
from expr_course.training.weights import load_network

TINY = dict(size=32, width=8, blocks=[1, 1], cells=8, hidden=32)


@pytest.fixture(scope="module")
def batch():
    return draw_faces(face_numbers("train", 0, 0, 8), 64)


def test_score_is_json():
    truth = busy_expressions(50, 0)
    found = json.loads(json.dumps(score(truth, truth)))
    assert found["r2"] == found["least"] == 1 and found["mae"] == 0
    assert list(found["aus"]) == list(AUS) and found["faces"] == 50
    assert score(torch.zeros(3, 17, 2), torch.zeros(3, 17, 2))["r2"] is None


def test_a_gradient_for_every_weight_and_pixel(batch):
    torch.manual_seed(0)
    system = EstimatorTraining(EstimatorSettings(**TINY), torch.ones(17, 1))
    small = draw_faces(face_numbers("train", 0, 0, 8), 32)
    (name, terms), = system.phases(small, 0)
    assert name == "reader" and set(terms) == {"aus", "labels", "points"}
    sum(terms.values()).backward()
    for p in system.parameters():
        assert p.grad is not None and p.grad.isfinite().all()
    x = (batch["image"]).clone().requires_grad_()
    system.network.eval()(x).sum().backward()
    assert crop_window(x.grad).abs().sum() > 0 and x.grad.isfinite().all(), "an editor can learn from this judge"


def test_side_tasks_can_be_left_out():
    small = draw_faces(face_numbers("train", 0, 0, 4), 32)
    for off, left in (
        (dict(points=0.0), {"aus", "labels"}), (dict(labels=0.0), {"aus", "points"}),
        (dict(points=0.0, labels=0.0), {"aus"}),
    ):
        (_, terms), = EstimatorTraining(EstimatorSettings(**TINY | off), torch.ones(17, 1)).phases(small, 0)
        assert set(terms) == left


@given(st.integers(0, 2**31))
def test_busy_expressions(seed):
    v = busy_expressions(60, seed)
    assert v.shape == (60, N_AUS, 2) and 0 <= v.min() and v.max() <= 1 and torch.equal(v, busy_expressions(60, seed))
    for a, b in RIVALS:
        assert not ((v[:, au_index(a)] > 0).any(-1) & (v[:, au_index(b)] > 0).any(-1)).any()
    assert torch.equal(v[:, au_index("AU26"), 0], v[:, au_index("AU26"), 1]), "the jaw is one bone"


def test_every_au_is_busy():
    v = busy_expressions(2000, 1)
    assert ((v > 0).any(-1).float().mean(0) > 0.08).all() and (v.var((0, 2)) > 0.01).all()
    assert (v[..., 0] != v[..., 1]).any(0).sum() == N_AUS - 1


def test_busy_faces_are_a_mixture():
    faces, plain = BusyFaces("train", 32, 8, 5), BusyFaces("train", 32, 8, 5, busy=0.0)
    a, b = faces.batch(0), plain.batch(0)
    assert torch.equal(a["identity"], b["identity"]) and torch.equal(a["aus"][4:], b["aus"][4:])
    assert not torch.equal(a["aus"][:4], b["aus"][:4]) and faces.settings() != plain.settings()
    assert torch.equal(a["image"], BusyFaces("train", 32, 8, 5).batch(0)["image"])


def test_points_move_with_the_picture():
    size, points = 64, torch.tensor([[[20.0, 30.0], [45.0, 25.0], [32.0, 50.0]]]).repeat(6, 1, 1)
    grid = torch.arange(size).float()
    def blob(x, y):
        return torch.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / 4)
    image = torch.stack([blob(*point) for points_of_one in points for point in points_of_one]).view(6, 3, size, size)
    torch.manual_seed(1)
    labels = (image[:, 0] > 0.5).long()
    out = move_estimator_faces({"image": image, "labels": labels, "landmarks": points}, turn=0.3, zoom=0.2, shift=0.1)
    moved, there = out["image"], out["landmarks"]
    mass = moved / moved.sum((-2, -1), keepdim=True)
    found = torch.stack([(mass * grid).sum((-2, -1)), (mass * grid[:, None]).sum((-2, -1))], -1)
    assert (found - there).abs().max() < 0.3 and (there - points).abs().max() > 2
    def centre(y):
        y = y / y.sum((-2, -1), keepdim=True)
        return torch.stack([(y * grid).sum((-2, -1)), (y * grid[:, None]).sum((-2, -1))], -1)
    assert (centre(out["labels"].float()) - there[:, 0]).abs().max() < 1, "labels too"


def test_shaken_faces_keep_their_sides(batch):
    torch.manual_seed(0)
    before = batch["image"].clone()
    out = shake(batch, spoil=0.5)
    assert torch.equal(batch["image"], before) and out["image"].abs().max() <= 1 and out["image"].isfinite().all()
    for k, (old, new) in enumerate(zip(batch["aus"], out["aus"])):
        mirrored = out["landmarks"][k, 36, 0] > out["landmarks"][k, 45, 0]
        assert not mirrored, "the person's right eye stays on the left of the picture"
        assert torch.equal(new, old) or torch.equal(new, old.flip(-1))
    assert not torch.equal(out["aus"], batch["aus"])


def test_weights_balance_the_aus():
    aus = busy_expressions(500, 3)
    aus[:, 3] = 0
    weights = au_weights(aus)
    assert weights.shape == (17, 1) and float(weights.mean()) == pytest.approx(1.0) and int(weights.argmax()) == 3
    error = torch.full((5, 17, 2), 0.5)
    assert float(au_loss(error, torch.zeros(5, 17, 2), weights)) == pytest.approx(0.25)


def test_judges_have_people_of_their_own():
    """No editor's or parser's recipe, whatever its seed from 0 to 99, draws a face that the judges were trained on."""
    every = [load_recipe(name, profile) for name in recipes() for profile in ("cpu", "gpu")]
    most = max(settings["faces"] for settings in every if "faces" in settings)
    seed = mix_seed("judges", load_recipe("estimator", "cpu")["seed"])
    own = [range(n[0], n[0] + most) for n in (face_numbers("train", seed, 0, 1), face_numbers("train", seed + 1, 0, 1))]
    assert split_of(own[0][0]) == "train"
    for other in range(100):
        first = face_numbers("train", other, 0, 1)[0]
        assert all(first + most < mine.start or first > mine.stop for mine in own)


def test_a_tiny_training_beats_the_mean():
    """A few seconds on a hundred faces: the reader must at least learn these, better than any constant answer."""
    torch.manual_seed(0)
    source = CachedFaces(BusyFaces("train", 32, 64, 9), 96, 32)
    settings = EstimatorSettings(**TINY | dict(width=16, rate=5e-3, spoil=0.0, decay=0.0))
    system = EstimatorTraining(settings, au_weights(source.cache["aus"]))
    Learner(system, source, 240, device="cpu").fit()
    batches = [source.batch(k) for k in range(3)]
    answer = torch.cat([read_all(system.network.eval(), b["image"]) for b in batches])
    truth = torch.cat([b["aus"] for b in batches])
    assert float(r2_scores(answer, truth).mean()) > 0.1


@pytest.mark.timeout(300)
def test_the_recipe(tmp_path):
    settings = load_recipe("estimator", "smoke") | dict(
        size=32, width=8, faces=16, cases=8, tests=10, steps=4, save_every=2, device="cpu"
    )
    card = run_recipe(settings, tmp_path / "whole")
    assert set(card["scores"]) == {"benchmark", "spoilt", "half size"}
    assert card["parameters"] == sum(p.numel() for p in load_estimator(tmp_path / "whole").parameters())
    run_recipe(settings | dict(steps=2), tmp_path / "parts")
    with pytest.raises(ValueError):
        run_recipe(settings | dict(width=16), tmp_path / "parts", resume=True)
    assert load_network(tmp_path / "whole" / "estimator.safetensors")[1]["size"] == 32


def test_full_size():
    for profile, most in (("cpu", 1.5e6), ("gpu", 8e6)):
        s = EstimatorSettings.from_recipe(load_recipe("estimator", profile))
        assert s.size == 128 and sum(p.numel() for p in s.build().parameters()) <= most


def test_settings_are_checked():
    recipe = load_recipe("estimator", "cpu")
    s = EstimatorSettings.from_recipe(recipe)
    assert (s.width, s.blocks, s.steps, s.precision) == (48, [1, 2, 2], 31000, "bf16") and s.aus == s.point_scale == 20
    with pytest.raises(ValueError, match="widht"):
        EstimatorSettings.from_recipe(recipe | {"widht": 8})
    with pytest.raises(ValueError, match="float"):
        EstimatorSettings.from_recipe(recipe | {"rate": "fast"})
