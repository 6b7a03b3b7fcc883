"""Groups of classes, mirrors, and input that is answered (lesson 13a)."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expr_course.data.augment import mirror_labels
from expr_course.faces import LABELS
from expr_course.parsing.labels import IGNORE, INNER, MERGED, check_labels, class_ids, mirror_scores


def random_labels(seed, ignore=True):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 19, (2, 8, 8), generator=g)
    return y.masked_fill(torch.rand(2, 8, 8, generator=g) < 0.1, IGNORE) if ignore else y


def test_groups():
    assert set(INNER) == {name for names in MERGED.values() for name in names} and len(MERGED) == 7
    assert class_ids(("skin", "l_eye", "cloth")) == [1, 4, 18] and class_ids(INNER) == [
        LABELS.index(name) for name in INNER
    ]


@given(st.integers(0, 10**6))
def test_mirrored_scores_are_scores_of_mirrored_labels(seed):
    scores = torch.randn(2, 19, 8, 8, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(mirror_scores(scores).argmax(1), mirror_labels(scores.argmax(1)))


@pytest.mark.parametrize("labels, image, message", [
    (torch.zeros(1, 4, 4), None, "not torch.float32"),
    (torch.zeros(1, 4, 4, dtype=torch.bool), None, "not torch.bool"),
    (torch.full((1, 4, 4), 19), None, "16 pixels have a label outside 0 to 18"),
    (torch.full((1, 4, 4), -1), None, "outside 0 to 18"),
    (torch.full((1, 4, 4), 255), None, "nothing to learn or to score"),
    (torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(1, 3, 8, 8), "8×8 pixels and its labels 4×4"),
    (torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(2, 3, 4, 4), "2 pictures but 1 label maps")])
def test_bad_labels_are_named(labels, image, message):
    with pytest.raises(ValueError, match=message):
        check_labels(labels, image)


def test_good_labels_pass():
    y = random_labels(1)
    check_labels(y, torch.zeros(2, 3, 8, 8))
    check_labels(y.to(torch.uint8))


def test_unknown_names():
    with pytest.raises(ValueError, match="no class"):
        class_ids(("nose", "beak"))
