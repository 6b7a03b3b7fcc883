"""Confusion, IoU, means, boundaries (lesson 13b): against torchmetrics, by hand, and where inputs vary."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expr_course.data.augment import mirror_table
from expr_course.faces import LABELS
from expr_course.parsing.labels import CLASSES, IGNORE
from expr_course.parsing.scores import (ParsingMeter, boundaries, boundary_counts, boundary_f, confusion, iou, merge,
                                        parsing_scores, pixel_accuracy, score_table)


def pair(seed, ignore=False, classes=19):
    g = torch.Generator().manual_seed(seed)
    y, p = (torch.randint(0, classes, (3, 12, 10), generator=g) for _ in range(2))
    p = torch.where(torch.rand(p.shape, generator=g) < 0.5, y, p)
    return p, (y.masked_fill(torch.rand(y.shape, generator=g) < 0.2, IGNORE) if ignore else y)


@given(st.integers(0, 10**6), st.booleans())
def test_like_torchmetrics(seed, ignore):
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex
    p, y = pair(seed, ignore)
    m = confusion(p, y)
    assert torch.equal(m, MulticlassConfusionMatrix(19, ignore_index=IGNORE)(p, y))
    assert torch.allclose(
        iou(m).nan_to_num(0).float(), MulticlassJaccardIndex(19, average="none", ignore_index=IGNORE)(p, y), atol=1e-6
    )
    assert abs(pixel_accuracy(m) - float(MulticlassAccuracy(19, average="micro", ignore_index=IGNORE)(p, y))) < 1e-6


@given(st.integers(0, 10**6))
def test_mean_of_classes_that_are_there_is_torchmetrics_macro(seed):
    from torchmetrics.classification import MulticlassJaccardIndex
    p, y = pair(seed)
    assert abs(parsing_scores(confusion(p, y))["miou19"] - float(MulticlassJaccardIndex(19)(p, y))) < 1e-4


def test_by_hand():
    y, p = torch.tensor([[[1, 1, 4, 5]]]), torch.tensor([[[1, 2, 5, 5]]])
    s = parsing_scores(confusion(p, y))
    assert (
        s["classes"]["skin"] == 0.5
        and s["classes"]["nose"] == 0
        and s["classes"]["l_eye"] == 0
        and s["classes"]["r_eye"] == 0.5
        and s["classes"]["hair"] is None
    )
    assert s["merged"]["eyes"] == 1 and s["accuracy"] == 0.5 and s["miou19"] == 0.25 and s["miou7"] == 0.5


def test_perfect_and_crossed():
    y = torch.arange(19).repeat(2, 3, 4)
    assert parsing_scores(confusion(y, y))["miou19"] == 1
    crossed = parsing_scores(confusion(mirror_table()[y], y))
    assert crossed["miou7"] == 1 and crossed["miou9"] == pytest.approx(5 / 9, abs=1e-4)


@given(st.integers(0, 10**6))
def test_batches_add_up(seed):
    p, y = pair(seed, True)
    meter = ParsingMeter()
    for a, b in zip(p, y):
        meter.update(a[None], b[None])
    whole = parsing_scores(confusion(p, y))
    assert {k: meter.scores()[k] for k in whole} == whole and meter.scores()["pictures"] == 3
    assert torch.equal(meter.borders, boundary_counts(p, y))


def test_merge_keeps_every_pixel():
    m = confusion(*pair(5))
    assert merge(m, dict(eyes=("l_eye", "r_eye"))).sum() == m.sum()


@given(st.integers(0, 10**6), st.integers(1, 3))
def test_borders_are_those_of_kornias_morphology(seed, distance):
    from kornia.morphology import dilation, erosion
    p, y = pair(seed, classes=3)
    def border(labels):
        mask = torch.nn.functional.one_hot(labels, CLASSES).permute(0, 3, 1, 2).float()
        return mask - erosion(mask, torch.ones(3, 3))
    assert torch.equal(boundaries(y), border(y))
    near = border(p) * dilation(border(y), torch.ones(2 * distance + 1, 2 * distance + 1))
    assert torch.equal(boundary_counts(p, y, distance)[1], near.sum((0, 2, 3)).double())


def test_boundary_by_hand():
    y = torch.zeros(1, 9, 9, dtype=torch.long)
    y[:, 2:7, 2:7] = 1
    assert boundaries(y)[0, 1].sum() == 16 and boundaries(y)[0, 1, 3:6, 3:6].sum() == 0, (
        "a 5×5 square has 16 border pixels"
    )
    assert boundaries(torch.ones(1, 5, 5, dtype=torch.long)).sum() == 0, "the edge of the picture is no border"
    far = torch.zeros_like(y)
    far[:, 0:2, 0:2] = 1
    assert boundary_f(boundary_counts(y, y))[1] == 1 and boundary_f(boundary_counts(far, y, 0))[1] == 0
    assert boundary_f(boundary_counts(y.roll(1, -1), y, 1))[1] == 1, "within one pixel"
    assert boundary_f(boundary_counts(y.roll(2, -1), y, 1))[1] < 1


@given(st.integers(0, 10**6))
def test_boundary_f_rises_with_distance_and_ignores_what_is_ignored(seed):
    p, y = pair(seed, True, 3)
    scores = [boundary_f(boundary_counts(p, y, d))[:3].nan_to_num(0) for d in (0, 1, 3)]
    assert (scores[1] >= scores[0] - 1e-9).all() and (scores[2] >= scores[1] - 1e-9).all()
    assert boundary_counts(p, torch.full_like(y, IGNORE)).sum() == 0


def test_errors():
    y = torch.zeros(1, 4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="they must match"):
        confusion(y, y[:, :2])
    with pytest.raises(ValueError, match="outside 0 to 18"):
        confusion(y + 19, y)
    with pytest.raises(ValueError, match="outside 0 to 18"):
        confusion(y.masked_fill(y == 0, 255), y)
    with pytest.raises(ValueError, match="nothing to learn or to score"):
        confusion(y, y + 255)
    with pytest.raises(ValueError, match="call update"):
        ParsingMeter().scores()


def test_table():
    meter = ParsingMeter()
    meter.update(*pair(1))
    lines = score_table({"one": meter.scores(), "two": meter.scores()}).split("\n")
    assert (
        len(lines) == 4 and all(name in lines[0] for name in LABELS) and len({line.count("|") for line in lines}) == 1
    )
