"""The AU estimator: scores by hand, labels that move with pictures, gradients, weights, and a training that beats the
mean (lesson 07a)."""
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expr_course.action_units import AUS, N_AUS, RIVALS, au_index
from expr_course.measuring.benchmark import make_cases
from expr_course.data.sources import CachedFaces, draw_faces, face_numbers, mix_seed, split_of
from expr_course.measuring.estimator import (NETWORK, RUN, AUEstimator, BusyFaces, EstimatorTraining, Residual,
                                             au_loss, au_weights, benchmark_faces, busy_expressions, calibration,
                                             load_estimator, make_stages, move_faces, r2_scores, read_all, score,
                                             shake, window)
from expr_course.training.learner import Learner
from expr_course.training.weights import load_network, save_network
from expr_course.training.recipe import load_recipe, recipes
from expr_course.training.command import run_recipe

TINY = dict(size=32, width=8, blocks=[1, 1], cells=8, hidden=32)


@pytest.fixture(scope="module")
def batch():
    return draw_faces(face_numbers("train", 0, 0, 8), 64)


def tiny(**changes):
    return AUEstimator(**TINY | changes).eval()


def test_r2_by_hand():
    truth = torch.zeros(4, N_AUS, 2)
    # spread: eight values, 0.5 from their mean, 8 · 0.25 = 2
    truth[:, 0, :] = torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None]
    answer = truth.clone()
    answer[0, 0, 0] = 0.5                                             # one error of 0.5: 0.25
    found = r2_scores(answer, truth)
    assert found[0] == pytest.approx(1 - 0.25 / 2) and found[1:].isnan().all(), "what does not vary has no R²"
    assert r2_scores(truth.mean((0, 2), keepdim=True).expand_as(truth), truth)[0] == pytest.approx(0.0)


@given(st.integers(0, 10**6))
def test_r2_is_that_of_torchmetrics(seed):
    metric = pytest.importorskip("torchmetrics.functional").r2_score
    g = torch.Generator().manual_seed(seed)
    truth = torch.rand(20, N_AUS, 2, generator=g)
    answer = truth + 0.3 * torch.randn(20, N_AUS, 2, generator=g)
    theirs = metric(
        answer.transpose(1, 2).reshape(-1, N_AUS), truth.transpose(1, 2).reshape(-1, N_AUS), multioutput="raw_values"
    )
    assert torch.allclose(r2_scores(answer, truth), theirs, atol=1e-4)


def test_r2_refuses_other_shapes():
    with pytest.raises(ValueError, match="N×17×2"):
        r2_scores(torch.zeros(4, 17), torch.zeros(4, 17))
    with pytest.raises(ValueError, match="N×17×2"):
        r2_scores(torch.zeros(4, 17, 2), torch.zeros(5, 17, 2))


def test_score_is_json():
    truth = busy_expressions(50, 0)
    found = json.loads(json.dumps(score(truth, truth)))
    assert (
        found["r2"] == 1
        and found["least"] == 1
        and found["mae"] == 0
        and list(found["aus"]) == list(AUS)
        and found["faces"] == 50
    )
    assert score(torch.zeros(3, 17, 2), torch.zeros(3, 17, 2))["r2"] is None


def test_calibration_by_hand():
    said, true, count = calibration(torch.tensor([0.05, 0.15, 0.15, 1.0]), torch.tensor([0.0, 0.1, 0.3, 0.8]))
    assert count.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    assert (
        said[1] == pytest.approx(0.15)
        and true[1] == pytest.approx(0.2)
        and true[9] == pytest.approx(0.8)
        and math.isnan(true[5])
    )


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_calibrated_means_add_up(n, seed):
    g = torch.Generator().manual_seed(seed)
    answer, truth = torch.rand(2, n, generator=g)
    said, true, count = calibration(answer, truth, 5)
    assert count.sum() == n
    for means, all_of in ((said, answer), (true, truth)):
        assert float((means.nan_to_num() * count).sum()) == pytest.approx(float(all_of.sum()), abs=1e-4)


@pytest.mark.parametrize("size", [32, 64, 96, 128])
@pytest.mark.parametrize("blocks", [(1,), (1, 2), (1, 2, 1), (2, 1, 1, 1)])
def test_shapes(size, blocks):
    network = AUEstimator(8, size, blocks, 4, 16).eval()
    for shape in ((2, 3, size, size), (1, 3, 100, 80)):
        x = torch.rand(shape) * 2 - 1
        y = network(x)
        assert (
            y.shape == (shape[0], N_AUS, 2)
            and 0 <= y.min()
            and y.max() <= 1
            and network.features(x).shape == (shape[0], 16)
        )


def test_the_window_holds_the_face():
    faces = draw_faces(face_numbers("val", 0, 0, 64), 128)
    inside = window(torch.arange(128 * 128.0).view(1, 1, 128, 128))
    assert inside.shape[-2:] == (112, 96) and inside[0, 0, 0, 0] == 16 * 128 + 16
    x, y = faces["landmarks"][:, 17:].unbind(-1)      # all but the outline of the jaw
    assert ((x >= 16) & (x < 112) & (y >= 16)).float().mean() > 0.995


def test_residual_starts_as_its_short_cut():
    x = torch.randn(2, 8, 9, 7)
    block = Residual(8, 8).eval()
    assert torch.allclose(block(x), x.relu())
    assert Residual(8, 12, 2)(x).shape == (2, 12, 5, 4) and [
        sum(isinstance(m, Residual) for m in stage) for stage in make_stages(8, (1, 2))
    ] == [1, 2]


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)]
)
def test_bad_pictures(bad):
    with pytest.raises(ValueError, match="N×3×H×W"):
        tiny()(bad)


def test_bad_size():
    with pytest.raises(ValueError, match="multiple of 32"):
        AUEstimator(size=100)


def test_a_gradient_for_every_weight_and_pixel(batch):
    torch.manual_seed(0)
    system = EstimatorTraining(NETWORK | RUN | TINY, torch.ones(17, 1))
    small = draw_faces(face_numbers("train", 0, 0, 8), 32)
    (name, terms), = system.phases(small, 0)
    assert name == "reader" and set(terms) == {"aus", "labels", "points"}
    sum(terms.values()).backward()
    for p in system.parameters():
        assert p.grad is not None and p.grad.isfinite().all()
    x = (batch["image"]).clone().requires_grad_()
    system.network.eval()(x).sum().backward()
    assert window(x.grad).abs().sum() > 0 and x.grad.isfinite().all(), "an editor can learn from this judge"


def test_side_tasks_can_be_left_out():
    small = draw_faces(face_numbers("train", 0, 0, 4), 32)
    for off, left in (
        (dict(points=0.0), {"aus", "labels"}), (dict(labels=0.0), {"aus", "points"}),
        (dict(points=0.0, labels=0.0), {"aus"}),
    ):
        (_, terms), = EstimatorTraining(NETWORK | RUN | TINY | off, torch.ones(17, 1)).phases(small, 0)
        assert set(terms) == left


def test_mirrored_faces_have_their_sides_exchanged(batch):
    torch.manual_seed(0)
    network = tiny()
    with torch.no_grad():
        assert torch.allclose(network(batch["image"].flip(-1)), network(batch["image"]).flip(-1), atol=1e-6)


@given(st.integers(0, 2**31))
def test_busy_expressions(seed):
    v = busy_expressions(60, seed)
    assert v.shape == (60, N_AUS, 2) and 0 <= v.min() and v.max() <= 1 and torch.equal(v, busy_expressions(60, seed))
    for a, b in RIVALS:
        assert not ((v[:, au_index(a)] > 0).any(-1) & (v[:, au_index(b)] > 0).any(-1)).any()
    assert torch.equal(v[:, au_index("AU26"), 0], v[:, au_index("AU26"), 1]), "the jaw is one bone"


def test_every_au_is_busy():
    v = busy_expressions(2000, 1)
    assert (
        ((v > 0).any(-1).float().mean(0) > 0.08).all()
        and (v.var((0, 2)) > 0.01).all()
        and (v[..., 0] != v[..., 1]).any(0).sum() == N_AUS - 1
    )


def test_busy_faces_are_a_mixture():
    faces, plain = BusyFaces("train", 32, 8, 5), BusyFaces("train", 32, 8, 5, busy=0.0)
    a, b = faces.batch(0), plain.batch(0)
    assert (
        torch.equal(a["identity"], b["identity"])
        and torch.equal(a["aus"][4:], b["aus"][4:])
        and not torch.equal(a["aus"][:4], b["aus"][:4])
    )
    assert (
        torch.equal(a["image"], BusyFaces("train", 32, 8, 5).batch(0)["image"]) and faces.settings() != plain.settings()
    )


def test_points_move_with_the_picture():
    size, points = 64, torch.tensor([[[20.0, 30.0], [45.0, 25.0], [32.0, 50.0]]]).repeat(6, 1, 1)
    grid = torch.arange(size).float()
    image = torch.stack(
        [
            sum(torch.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / 4) for x, y in p[k : k + 1])
            for p in points
            for k in range(3)
        ]
    ).view(6, 3, size, size)
    torch.manual_seed(1)
    labels = (image[:, 0] > 0.5).long()
    out = move_faces({"image": image, "labels": labels, "landmarks": points}, turn=0.3, zoom=0.2, shift=0.1)
    moved, there = out["image"], out["landmarks"]
    mass = moved / moved.sum((-2, -1), keepdim=True)
    found = torch.stack([(mass * grid).sum((-2, -1)), (mass * grid[:, None]).sum((-2, -1))], -1)
    assert (found - there).abs().max() < 0.3 and (there - points).abs().max() > 2
    def centre(y):
        return (
            torch.stack([(y * grid).sum((-2, -1)), (y * grid[:, None]).sum((-2, -1))], -1) / y.sum((-2, -1))[:, None]
        )
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
    most = max(
        load_recipe(name, profile)["faces"]
        for name in recipes()
        for profile in ("cpu", "gpu")
        if "faces" in load_recipe(name, profile)
    )
    seed = mix_seed("judges", load_recipe("estimator", "cpu")["seed"])
    own = [range(n[0], n[0] + most) for n in (face_numbers("train", seed, 0, 1), face_numbers("train", seed + 1, 0, 1))]
    assert split_of(own[0][0]) == "train"
    for other in range(100):
        first = face_numbers("train", other, 0, 1)[0]
        assert all(first + most < mine.start or first > mine.stop for mine in own)


def test_benchmark_faces():
    image, cases = benchmark_faces(10, 32)
    assert image.shape == (10, 3, 32, 32) and torch.equal(cases.target, make_cases(10).target)
    spoilt, _ = benchmark_faces(10, 32, spoilt=True)
    assert not torch.equal(spoilt, image) and torch.equal(spoilt, benchmark_faces(10, 32, spoilt=True)[0])
    assert set(benchmark_faces(10, 32, kind="emotion")[1].kinds) == {"emotion"}
    assert torch.equal((image * 127.5 + 127.5).round() / 127.5 - 1, image)


def test_a_tiny_training_beats_the_mean():
    """A few seconds on a hundred faces: the reader must at least learn these, better than any constant answer."""
    torch.manual_seed(0)
    source = CachedFaces(BusyFaces("train", 32, 64, 9), 96, 32)
    system = EstimatorTraining(
        NETWORK | RUN | TINY | dict(width=16, rate=5e-3, spoil=0.0, decay=0.0), au_weights(source.cache["aus"])
    )
    Learner(system, source, 240, device="cpu").fit()
    batches = [source.batch(k) for k in range(3)]
    answer, truth = (
        torch.cat([read_all(system.network.eval(), b["image"]) for b in batches]),
        torch.cat([b["aus"] for b in batches]),
    )
    assert float(r2_scores(answer, truth).mean()) > 0.1


def test_weights_come_back(tmp_path, batch):
    network = tiny()
    save_network(tmp_path / "estimator.safetensors", network, size=32)
    again = load_estimator(tmp_path)
    assert (
        torch.equal(again(batch["image"]), network(batch["image"]))
        and again.config == network.config
        and not again.training
    )
    save_network(tmp_path / "estimator.safetensors", network, half=True)
    assert (load_estimator(tmp_path)(batch["image"]) - network(batch["image"])).abs().max() < 0.02
    with pytest.raises(FileNotFoundError, match="expr-train"):
        load_estimator(tmp_path / "nowhere")
    (tmp_path / "estimator.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="damaged"):
        load_estimator(tmp_path)


@pytest.mark.timeout(300)
def test_the_recipe(tmp_path):
    settings = load_recipe("estimator", "smoke") | dict(
        size=32, width=8, faces=16, cases=8, tests=10, steps=4, save_every=2, device="cpu"
    )
    card = run_recipe(settings, tmp_path / "whole")
    assert set(card["scores"]) == {"benchmark", "spoilt", "half size"} and card["parameters"] == sum(
        p.numel() for p in load_estimator(tmp_path / "whole").parameters()
    )
    run_recipe(settings | dict(steps=2), tmp_path / "parts")
    with pytest.raises(ValueError):
        run_recipe(settings | dict(width=16), tmp_path / "parts", resume=True)
    assert load_network(tmp_path / "whole" / "estimator.safetensors")[1]["size"] == 32


def test_full_size():
    for profile, most in (("cpu", 1.5e6), ("gpu", 8e6)):
        s = load_recipe("estimator", profile)
        assert (
            s["size"] == 128
            and sum(p.numel() for p in AUEstimator(size=128, **{k: s[k] for k in NETWORK}).parameters()) <= most
        )
