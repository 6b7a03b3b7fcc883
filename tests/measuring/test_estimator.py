"""The AU estimator: scores by hand, shapes, sides, and weights that come back (lesson 07a)."""
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expr_course.action_units import N_AUS
from expr_course.data.sources import draw_faces, face_numbers
from expr_course.measuring.benchmark import make_cases
from expr_course.measuring.estimator import (AUEstimator, Residual, benchmark_faces, calibration, crop_window,
                                             load_estimator, make_stages, r2_scores)
from expr_course.training.weights import save_network

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
    theirs = metric(*(v.transpose(1, 2).reshape(-1, N_AUS) for v in (answer, truth)), multioutput="raw_values")
    assert torch.allclose(r2_scores(answer, truth), theirs, atol=1e-4)


def test_r2_refuses_other_shapes():
    with pytest.raises(ValueError, match="N×17×2"):
        r2_scores(torch.zeros(4, 17), torch.zeros(4, 17))
    with pytest.raises(ValueError, match="N×17×2"):
        r2_scores(torch.zeros(4, 17, 2), torch.zeros(5, 17, 2))


def test_calibration_by_hand():
    said, true, count = calibration(torch.tensor([0.05, 0.15, 0.15, 1.0]), torch.tensor([0.0, 0.1, 0.3, 0.8]))
    assert count.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    assert said[1] == pytest.approx(0.15) and true[1] == pytest.approx(0.2)
    assert true[9] == pytest.approx(0.8) and math.isnan(true[5])


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
        assert y.shape == (shape[0], N_AUS, 2) and 0 <= y.min() and y.max() <= 1
        assert network.features(x).shape == (shape[0], 16)


def test_the_window_holds_the_face():
    faces = draw_faces(face_numbers("val", 0, 0, 64), 128)
    inside = crop_window(torch.arange(128 * 128.0).view(1, 1, 128, 128))
    assert inside.shape[-2:] == (112, 96) and inside[0, 0, 0, 0] == 16 * 128 + 16
    x, y = faces["landmarks"][:, 17:].unbind(-1)      # all but the outline of the jaw
    assert ((x >= 16) & (x < 112) & (y >= 16)).float().mean() > 0.995


def test_residual_starts_as_its_short_cut():
    x = torch.randn(2, 8, 9, 7)
    block = Residual(8, 8).eval()
    assert torch.allclose(block(x), x.relu())
    assert Residual(8, 12, 2)(x).shape == (2, 12, 5, 4)
    assert [sum(isinstance(m, Residual) for m in stage) for stage in make_stages(8, (1, 2))] == [1, 2]


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)]
)
def test_bad_pictures(bad):
    with pytest.raises(ValueError, match="N×3×H×W"):
        tiny()(bad)


def test_bad_size():
    with pytest.raises(ValueError, match="multiple of 32"):
        AUEstimator(size=100)


def test_mirrored_faces_have_their_sides_exchanged(batch):
    torch.manual_seed(0)
    network = tiny()
    with torch.no_grad():
        assert torch.allclose(network(batch["image"].flip(-1)), network(batch["image"]).flip(-1), atol=1e-6)


def test_benchmark_faces():
    image, cases = benchmark_faces(10, 32)
    assert image.shape == (10, 3, 32, 32) and torch.equal(cases.target, make_cases(10).target)
    spoilt, _ = benchmark_faces(10, 32, spoilt=True)
    assert not torch.equal(spoilt, image) and torch.equal(spoilt, benchmark_faces(10, 32, spoilt=True)[0])
    assert set(benchmark_faces(10, 32, kind="emotion")[1].kinds) == {"emotion"}
    assert torch.equal((image * 127.5 + 127.5).round() / 127.5 - 1, image)


def test_weights_come_back(tmp_path, batch):
    network = tiny()
    save_network(tmp_path / "estimator.safetensors", network, size=32)
    again = load_estimator(tmp_path)
    assert torch.equal(again(batch["image"]), network(batch["image"]))
    assert again.config == network.config and not again.training
    save_network(tmp_path / "estimator.safetensors", network, half=True)
    assert (load_estimator(tmp_path)(batch["image"]) - network(batch["image"])).abs().max() < 0.02
    with pytest.raises(FileNotFoundError, match="expr-train"):
        load_estimator(tmp_path / "nowhere")
    (tmp_path / "estimator.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="damaged"):
        load_estimator(tmp_path)


def test_reading_needs_no_training_world():
    """Whoever edits a face with the estimator's help does not load the loop, accelerate or augmentation."""
    code = """
import sys
import expr_course.measuring.estimator
world = {"accelerate", "expr_course.training.learner", "expr_course.data.augment", "expr_course.measuring.classifier"}
print(sorted(world & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
