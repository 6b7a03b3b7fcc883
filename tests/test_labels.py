"""Class orders, mirrors, and input that is answered (lesson 13a)."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expr_course.data import draw_faces, face_numbers
from expr_course.faces import LABELS, mirror, render, sample_identities
from expr_course.labels import (IGNORE, INNER, MERGED, ORDERS, SECOND, check_labels, check_order, class_ids, guess_order, mirror_labels, mirror_scores,
                                mirror_table, plausibility, remap)


@pytest.fixture(scope="module")
def labels(): return draw_faces(face_numbers("val", 0, 0, 32), 64)["labels"]


def random_labels(seed, ignore=True):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 19, (2, 8, 8), generator=g)
    return y.masked_fill(torch.rand(2, 8, 8, generator=g) < 0.1, IGNORE) if ignore else y


def test_orders_are_the_published_ones():
    assert LABELS[1:] == tuple("skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat ear_r neck_l neck cloth".split())
    assert SECOND[1:] == tuple("skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r nose mouth u_lip l_lip neck neck_l cloth hair hat".split())
    assert sorted(SECOND) == sorted(LABELS) and set(INNER) == {name for names in MERGED.values() for name in names}


@given(st.integers(0, 10**6))
def test_remap_there_and_back(seed):
    y = random_labels(seed)
    there = remap(y, "official", "second")
    assert torch.equal(remap(there, "second"), y) and torch.equal(there == IGNORE, y == IGNORE)
    assert torch.equal(remap(y, "official", "official"), y)
    for k, name in enumerate(LABELS): assert torch.equal(there == SECOND.index(name), y == k)


@given(st.integers(0, 10**6))
def test_mirror_swaps_three_pairs_at_once_and_undoes_itself(seed):
    y = random_labels(seed)
    m = mirror_labels(y)
    assert torch.equal(mirror_labels(m), y)
    for a, b in ((4, 5), (6, 7), (8, 9)): assert torch.equal(m == a, y.flip(-1) == b) and torch.equal(m == b, y.flip(-1) == a)
    for k in (0, 1, 2, 3, 10, 13, 18, IGNORE): assert torch.equal(m == k, y.flip(-1) == k)


@given(st.integers(0, 10**6))
def test_mirrored_scores_are_scores_of_mirrored_labels(seed):
    scores = torch.randn(2, 19, 8, 8, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(mirror_scores(scores).argmax(1), mirror_labels(scores.argmax(1)))


def test_the_mirror_of_labels_is_the_label_of_the_mirror():
    people, aus = sample_identities(6, seed=3), torch.zeros(6, 17, 2)
    agree = (mirror_labels(render(people, aus, 96).labels) == render(mirror(people), aus, 96).labels).float().mean()
    assert agree > 0.98


def test_orders_are_told_apart(labels):
    other = remap(labels, "official", "second")
    assert plausibility(labels) > 0.9 and plausibility(other) < 0.5
    assert guess_order(labels) == "official" and guess_order(other) == "second"
    check_order(labels)
    check_order(other, "second")
    with pytest.raises(ValueError, match=r"look like the second.*remap\(labels, 'second', 'official'\)"): check_order(other)
    with pytest.raises(ValueError, match="look like the official"): check_order(labels, "second")


def test_single_faces_are_recognised(labels):
    verdicts = [guess_order(one[None]) for one in labels] + [guess_order(remap(one[None], "official", "second")) for one in labels]
    assert sum(v not in (None, t) for v, t in zip(verdicts, ["official"] * 32 + ["second"] * 32)) == 0
    assert verdicts.count(None) <= 4


def test_without_evidence_nobody_is_accused():
    assert guess_order(torch.zeros(3, 16, 16, dtype=torch.long)) is None
    check_order(torch.zeros(3, 16, 16, dtype=torch.long))


@pytest.mark.parametrize("labels, image, message", [
    (torch.zeros(1, 4, 4), None, "not torch.float32"),
    (torch.zeros(1, 4, 4, dtype=torch.bool), None, "not torch.bool"),
    (torch.full((1, 4, 4), 19), None, "16 pixels have a label outside 0 to 18"),
    (torch.full((1, 4, 4), -1), None, "outside 0 to 18"),
    (torch.full((1, 4, 4), 255), None, "nothing to learn or to score"),
    (torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(1, 3, 8, 8), "8×8 pixels and its labels 4×4"),
    (torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(2, 3, 4, 4), "2 pictures but 1 label maps")])
def test_bad_labels_are_named(labels, image, message):
    with pytest.raises(ValueError, match=message): check_labels(labels, image)


def test_good_labels_pass():
    y = random_labels(1)
    check_labels(y, torch.zeros(2, 3, 8, 8))
    check_labels(y.to(torch.uint8))


def test_unknown_names():
    with pytest.raises(ValueError, match="no class"): class_ids(("nose", "beak"))
    with pytest.raises(ValueError, match="the orders are official, second"): remap(random_labels(0), "third")
    assert len(mirror_table()) == 256 and set(ORDERS) == {"official", "second"}
