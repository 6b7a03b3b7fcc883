"""The expression classifier: expressions of known emotion, a head on frozen features, confusions, saliency (lesson
07c)."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expr_course.action_units import EMOTIONS, N_AUS, au_index, emotion_vector
from expr_course.data.sources import draw_faces, face_numbers, split_of
from expr_course.measuring.classifier import (EXPRESSIONS, ClassifierSettings, ClassifierTraining,
                                              ExpressionClassifier, ExpressionHead, accuracy, answers,
                                              draw_emotions, emotional, expression_confusion, focus, known,
                                              load_classifier, saliency, tables_of)
from expr_course.measuring.estimator import AUEstimator
from expr_course.training.command import run_recipe
from expr_course.training.learner import random_batches
from expr_course.training.recipe import load_recipe
from expr_course.training.weights import fingerprint, save_network

TINY = dict(size=32, width=8, blocks=[1, 1], cells=8, hidden=32)


@pytest.fixture(scope="module")
def estimator():
    torch.manual_seed(0)
    return AUEstimator(**TINY).eval()


def test_names_are_the_emotions():
    assert EXPRESSIONS == tuple(EMOTIONS) and EXPRESSIONS[0] == "neutral" and len(EXPRESSIONS) == 8


@given(st.integers(1, 60), st.integers(0, 2**31))
def test_emotional(n, seed):
    aus, emotion = emotional(n, seed)
    assert aus.shape == (n, N_AUS, 2) and 0 <= aus.min() and aus.max() <= 1 and torch.equal(aus, emotional(n, seed)[0])
    assert torch.bincount(emotion, minlength=8).max() - torch.bincount(emotion, minlength=8).min() <= 1
    for v, k in zip(aus, emotion.tolist()):
        prototype = emotion_vector(EXPRESSIONS[k])
        shown = [(v[p > 0] > 0.25 * p[p > 0]).all() for p in (prototype, prototype.flip(-1))]
        assert any(shown) and v[(prototype.amax(-1) == 0)].max() <= 0.3 + 1e-6


def test_contempt_comes_on_either_side():
    aus, emotion = emotional(400, 0)
    left, right = (aus[emotion == EXPRESSIONS.index("contempt")][:, au_index("AU14")] > 0.15).float().mean(0)
    assert 0.25 < left < 0.75 and left + right == pytest.approx(1.0, abs=0.1)


def test_drawn_emotions():
    parts = list(draw_emotions("test", 6, 70, 32))
    assert [len(p["emotion"]) for p in parts] == [64, 6] and parts[0]["image"].shape == (64, 3, 32, 32)
    assert all(split_of(k) == "test" for p in parts for k in p["identity"].tolist())
    assert not set(parts[0]["identity"].tolist()) & set(parts[1]["identity"].tolist())


def test_scores_and_names(estimator):
    network = ExpressionClassifier(estimator, ExpressionHead(32, 16)).eval()
    x = torch.rand(5, 3, 40, 40) * 2 - 1
    assert network(x).shape == (5, 8) and network.name(x) == [EXPRESSIONS[k] for k in network(x).argmax(1)]
    assert torch.equal(answers(network, x, 2), network(x).argmax(1))
    with pytest.raises(ValueError, match="N×3×H×W"):
        network(x[0])


def test_only_the_head_learns(estimator):
    network = ExpressionClassifier(estimator, ExpressionHead(32, 16))
    network.train()
    assert not network.estimator.training, "the averages of batch norm stay as they are"
    x = (torch.rand(2, 3, 32, 32) * 2 - 1).requires_grad_()
    network(x).sum().backward()
    assert all(p.grad is None for p in estimator.parameters())
    assert all(p.grad is not None for p in network.head.parameters())
    assert x.grad.abs().sum() > 0, "pictures get a gradient through it"


def test_confusion_by_hand():
    table = expression_confusion(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2]), 3)
    assert table.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]] and accuracy(table) == 0.75


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=50))
def test_confusion_counts_everybody(pairs):
    answer, truth = torch.tensor(pairs).T
    table = expression_confusion(answer, truth)
    assert table.sum() == len(pairs) and torch.equal(table.sum(1), torch.bincount(truth, minlength=8))
    assert table[truth[0], answer[0]] == sum(p == pairs[0] for p in pairs)


def test_confusion_refuses():
    with pytest.raises(ValueError, match="as many"):
        expression_confusion(torch.zeros(3, dtype=torch.long), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="outside"):
        expression_confusion(torch.tensor([8]), torch.tensor([0]))
    with pytest.raises(ValueError, match="outside"):
        expression_confusion(torch.tensor([0]), torch.tensor([-1]))


class Corner(torch.nn.Module):
    "Answers with the mean of the upper left quarter, and with that of everything"
    def forward(self, x):
        return torch.stack([x[..., :8, :8].mean((1, 2, 3)), x.mean((1, 2, 3))], 1)


def test_saliency_falls_where_the_answer_hangs():
    image = torch.rand(3, 3, 16, 16) * 2 - 1
    corner, everywhere = (saliency(Corner(), image, lambda y, k=k: y[:, k], samples=2) for k in (0, 1))
    mask = torch.zeros(3, 1, 16, 16)
    mask[..., :8, :8] = 1
    assert corner.shape == (3, 1, 16, 16) and (corner >= 0).all()
    assert torch.allclose(corner.sum((1, 2, 3)), torch.ones(3))
    assert torch.allclose(focus(corner, mask), torch.full((3,), 4.0), atol=1e-4), "everything in a quarter of the area"
    assert torch.allclose(focus(everywhere, mask), torch.ones(3), atol=1e-4), "no better than anywhere"


def test_saliency_of_an_estimator(estimator):
    image = draw_faces(face_numbers("val", 0, 0, 2), 48)["image"]
    heat, again = (saliency(estimator, image, lambda v: v[:, au_index("AU12"), 0], samples=2) for _ in range(2))
    assert heat.shape == (2, 1, 48, 48) and heat.isfinite().all() and torch.equal(heat, again)


def test_a_head_learns_what_features_know():
    """Features that say the emotion, with noise: the head must find it out, and beat guessing by far."""
    torch.manual_seed(0)
    emotion = torch.arange(400) % 8
    cards = {"features": torch.eye(32)[emotion] * 2 + 0.3 * torch.randn(400, 32), "emotion": emotion}
    system = ClassifierTraining(ClassifierSettings(hidden=16, rate=1e-2, decay=0.0), 32)
    source, optimizer = random_batches(cards, 64, 0), system.optimizers()["head"]
    for k in range(60):
        (_, terms), = system.phases(source.make(k), k)
        optimizer.zero_grad()
        terms["entropy"].backward()
        optimizer.step()
    assert (system.head(cards["features"]).argmax(1) == emotion).float().mean() > 0.9


def test_known_is_every_view_once(estimator):
    torch.manual_seed(0)
    cards = known(estimator, draw_emotions("train", 3, 10, 32), views=3, spoil=0.0)
    assert cards["features"].shape == (30, 32) and torch.equal(cards["emotion"][:10], cards["emotion"][20:])
    image = next(draw_emotions("train", 3, 10, 32))["image"]
    assert torch.allclose(cards["features"][:10], estimator.features(image), atol=1e-5)
    assert not torch.allclose(cards["features"][:10], cards["features"][10:20], atol=1e-3)


def test_tables(estimator):
    found = tables_of(ExpressionClassifier(estimator, ExpressionHead(32, 16)).eval(), 9, 32, limit=10)
    assert found["drawn"].sum() == 9 and found["benchmark"].sum() == 2


def test_weights_come_back_with_their_estimator(tmp_path, estimator):
    network = ExpressionClassifier(estimator, ExpressionHead(32, 16)).eval()
    save_network(tmp_path / "classifier.safetensors", network.head, estimator=fingerprint(estimator.state_dict()))
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(load_classifier(tmp_path, estimator)(x), network(x))
    torch.manual_seed(1)
    with pytest.raises(ValueError, match="another estimator"):
        load_classifier(tmp_path, AUEstimator(**TINY))
    with pytest.raises(FileNotFoundError, match="expr-train"):
        load_classifier(tmp_path / "nowhere", estimator)


@pytest.mark.timeout(300)
def test_the_recipe(tmp_path, estimator):
    save_network(tmp_path / "judge" / "estimator.safetensors", estimator, size=32)
    settings = load_recipe("classifier", "smoke") | dict(
        estimator=str(tmp_path / "judge"), faces=16, tests=8, limit=10, device="cpu"
    )
    card = run_recipe(settings, tmp_path / "run")
    assert card["names"] == list(EXPRESSIONS) and sum(map(sum, card["scores"]["drawn"]["confusion"])) == 8
    assert 0 <= card["scores"]["benchmark"]["accuracy"] <= 1
    assert load_classifier(tmp_path / "run", estimator).name(torch.zeros(1, 3, 64, 64))[0] in EXPRESSIONS
    with pytest.raises(FileNotFoundError, match="estimator"):
        run_recipe(settings | dict(estimator=str(tmp_path / "none")), tmp_path / "other")
