"""Judged scores: cases by hand, a judge that is a stub, and the benchmark with judges (lesson 07d)."""
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from expr_course.action_units import EMOTIONS
from expr_course.measuring import benchmark as bench
from expr_course.measuring.benchmark import make_cases, run_all
from expr_course.measuring.classifier import EXPRESSIONS, ExpressionClassifier, ExpressionHead
from expr_course.measuring.estimator import AUEstimator
from expr_course.measuring.judges import Cloud, Judges, agreement, au_error, bundled_judges, frechet, rounded


class Grey(nn.Module):
    "A judge that reads every AU from the picture's mean brightness"
    def forward(self, image):
        return (image.mean((1, 2, 3)) / 2 + 0.5)[:, None, None].expand(-1, 17, 2)


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return ExpressionClassifier(AUEstimator(width=8, size=32, cells=4, hidden=16), ExpressionHead(16, 8)).eval()


def test_au_error_by_hand():
    image = torch.full((2, 3, 8, 8), -1.0)
    image[1] = 1.0
    target = torch.zeros(2, 17, 2)
    target[0, 3, 0] = 0.34
    assert torch.allclose(au_error(Grey(), image, target), torch.tensor([0.34 / 34, 1.0]))
    both = au_error(Grey(), image, target.mean(2))
    assert torch.allclose(both, torch.tensor([0.34 / 34, 1.0])), "N×17: both sides equal"


@given(st.floats(-0.0038, 0.0038))
def test_what_eight_bits_do_not_hold_is_no_edit(change):
    image = torch.zeros(1, 3, 4, 4) + 1 / 255     # exactly the byte 128
    assert torch.equal(rounded(image), rounded(image + change * 0.99))


def test_agreement_has_no_value_where_no_emotion_was_asked_for(classifier):
    image = torch.rand(len(EXPRESSIONS), 3, 32, 32) * 2 - 1
    answer = [EXPRESSIONS[k] for k in classifier(rounded(image)).argmax(1).tolist()]
    assert torch.equal(agreement(classifier, image, tuple(answer)), torch.ones(len(EXPRESSIONS)))
    other = tuple(EXPRESSIONS[(EXPRESSIONS.index(a) + 1) % len(EXPRESSIONS)] for a in answer)
    assert torch.equal(agreement(classifier, image, other), torch.zeros(len(EXPRESSIONS)))
    assert agreement(classifier, image, ("AU12 up",) * len(EXPRESSIONS)).isnan().all()


@given(st.integers(0, 10**6), st.floats(0.2, 3), st.floats(0.2, 3), st.floats(-3, 3))
def test_frechet_of_diagonal_clouds_is_the_closed_form(seed, first, second, shift):
    g = torch.Generator().manual_seed(seed)
    white = torch.randn(500, 3, generator=g, dtype=torch.double)
    white = white - white.mean(0)
    # covariance 1, exactly
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(white.T @ white / 499), white.T, upper=False).T
    a, b = Cloud(3).add(first * white), Cloud(3).add(second * white + shift)
    assert frechet(a, b) == pytest.approx(3 * shift ** 2 + 3 * (first - second) ** 2, abs=1e-6)
    assert frechet(b, a) == pytest.approx(frechet(a, b), abs=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_clouds_do_not_depend_on_the_batches(seed, size):
    f = torch.randn(60, 4, generator=torch.Generator().manual_seed(seed)) + 100
    whole, parts = Cloud(4).add(f), Cloud(4)
    for part in f.split(size):
        parts.add(part)
    assert torch.allclose(parts.mean, whole.mean) and torch.allclose(parts.covariance, f.double().T.cov(), atol=1e-8)
    assert frechet(whole, parts) == pytest.approx(0, abs=1e-6)


def test_frechet_agrees_with_torchmetrics_form():
    from torchmetrics.image.fid import _compute_fid
    g = torch.Generator().manual_seed(0)
    def normal(n):
        return torch.randn(n, 6, generator=g, dtype=torch.double)
    a, b = (normal(400) @ normal(6) for _ in range(2))
    theirs = float(_compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov()))
    assert frechet(Cloud(6).add(a), Cloud(6).add(b)) == pytest.approx(theirs, rel=1e-6)


def test_one_picture_has_no_spread():
    with pytest.raises(ValueError, match="two or more"):
        frechet(Cloud(3).add(torch.zeros(1, 3)), Cloud(3).add(torch.zeros(5, 3)))


def test_judges_watch_the_benchmark():
    """The bundled judges find the true answers nearer to themselves than the untouched faces."""
    judges = bundled_judges("cpu")
    reports = judges.add_to(run_all({}, size=32, limit=10, batch_size=4, device="cpu", watch=judges))
    assert [r["edit"] for r in reports] == list(judges.scores) == ["copy", "true counterfactual"]
    copy, true = (r["judged"] for r in reports)
    assert true["FID-f"] < 1e-6 < copy["FID-f"] and true["AU error"] < copy["AU error"]
    assert 0 <= copy["expression accuracy"] <= 1
    cases = make_cases(10)
    assert set(cases.asks[8:]) <= set(EMOTIONS)
    assert "copy" in judges.table() and json.dumps(reports, allow_nan=False)


def test_no_emotion_no_accuracy(classifier):
    judges, cases = Judges(classifier, "cpu"), make_cases(10)[:1]
    judges("one", torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32), cases)
    found = judges.scores["one"]
    assert found["expression accuracy"] is None and found["FID-f"] is None and "| - | - |" in judges.table()


def test_the_command_asks_the_judges(classifier, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("expr_course.measuring.judges.bundled_judges", lambda device=None: Judges(classifier, "cpu"))
    words = ["--references-only", "--judged", "--cases", "5", "--size", "32", "--device", "cpu"]
    assert bench.main([*words, "--out", str(tmp_path / "r.json")]) == 0
    assert "FID-f" in capsys.readouterr().out
    assert all("judged" in report for report in json.loads((tmp_path / "r.json").read_text()))
