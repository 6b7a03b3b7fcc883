"""Lesson 04: picture, labels, landmarks and action units move together, and left and right change places in all of
them."""
import kornia.augmentation as K
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from expr_course.action_units import sample_aus
from expr_course.data.augment import (LANDMARK_MIRROR, FaceAugment, mirror_faces, mirror_labels, mirror_landmarks,
                                      mirror_table)
from expr_course.data.sources import DrawnFaces
from expr_course.faces import mirror, render, sample_identities
from expr_course.parsing.labels import IGNORE


@pytest.fixture(scope="module")
def batch():
    return DrawnFaces("val", 96, 32, seed=1).batch(0)


def random_labels(seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 19, (2, 8, 8), generator=g)
    return y.masked_fill(torch.rand(2, 8, 8, generator=g) < 0.1, IGNORE)


@given(st.integers(0, 10**6))
def test_mirror_swaps_three_pairs_at_once_and_undoes_itself(seed):
    y = random_labels(seed)
    m = mirror_labels(y)
    assert torch.equal(mirror_labels(m), y) and m.dtype == y.dtype
    for a, b in ((4, 5), (6, 7), (8, 9)):
        assert torch.equal(m == a, y.flip(-1) == b) and torch.equal(m == b, y.flip(-1) == a)
    for k in (0, 1, 2, 3, 10, 13, 18, IGNORE):
        assert torch.equal(m == k, y.flip(-1) == k)
    assert len(mirror_table()) == 256 and mirror_table(19).tolist() == mirror_table().tolist()[:19]


def test_the_mirror_of_a_batch_is_the_batch_of_the_mirror():
    people, aus = sample_identities(8, seed=3), sample_aus(8, 5)
    straight, there = render(people, aus, 96), render(mirror(people), aus.flip(-1), 96)
    got = mirror_faces({name: getattr(straight, name) for name in ("image", "labels", "landmarks", "aus")})
    assert (got["image"] - there.image).abs().max() < 0.02 and (got["labels"] == there.labels).float().mean() > 0.98
    assert (got["landmarks"] - there.landmarks).abs().max() < 0.3 and torch.equal(got["aus"], there.aus)


def test_landmarks_change_places_and_come_back(batch):
    assert sorted(LANDMARK_MIRROR) == list(range(68)) and all(
        LANDMARK_MIRROR[LANDMARK_MIRROR[k]] == k for k in range(68)
    )
    assert [k for k in range(68) if LANDMARK_MIRROR[k] == k] == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66], (
        "the points on the midline"
    )
    twice = mirror_landmarks(mirror_landmarks(batch["landmarks"], 96), 96)
    assert torch.allclose(twice, batch["landmarks"], atol=1e-4)


@given(st.lists(st.booleans(), min_size=6, max_size=6))
def test_only_the_chosen_are_mirrored_and_nothing_else_changes(which):
    some = {
        "image": torch.rand(6, 3, 8, 8), "aus": torch.rand(6, 17, 2), "source": ["drawn"] * 6,
        "identity": torch.arange(6),
    }
    kept = {k: v.clone() if isinstance(v, torch.Tensor) else list(v) for k, v in some.items()}
    got = mirror_faces(some, torch.tensor(which))
    for k, mirrored in enumerate(which):
        assert torch.equal(got["image"][k], some["image"][k].flip(-1) if mirrored else some["image"][k])
        assert torch.equal(got["aus"][k], some["aus"][k].flip(-1) if mirrored else some["aus"][k])
    assert (
        got["source"] == kept["source"]
        and torch.equal(got["identity"], kept["identity"])
        and torch.equal(some["image"], kept["image"])
    )


def eye_gaps(batch):
    """N×2: centre of the left and the right eye's label against the centre of its landmarks, in pixels; and N×2 bool:
    is enough of the eye seen that a few pixels, rounded differently, do not move its centre?"""
    line, gaps, seen = torch.arange(batch["labels"].shape[-1], dtype=torch.float32), [], []
    for number, points in ((4, slice(42, 48)), (5, slice(36, 42))):
        where = (batch["labels"] == number).float()
        area = where.sum((1, 2))
        centre = (
            torch.stack([(where.sum(1) * line).sum(1), (where.sum(2) * line).sum(1)], 1) / area.clamp(min=1)[:, None]
        )
        gaps.append((centre - batch["landmarks"][:, points].mean(1)).norm(dim=1))
        seen.append((area > 18) & ((batch["landmarks"][:, points] - 47.5).abs().amax((1, 2)) < 40))
    return torch.stack(gaps, 1), torch.stack(seen, 1)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.integers(0, 10**6), st.floats(0, 25), st.floats(0, 0.15), st.floats(0, 0.08))
def test_landmarks_still_lie_on_the_labels(batch, seed, turn, zoom, shift):
    torch.manual_seed(seed)
    before, whole = eye_gaps(batch)
    for flip in (0.0, 1.0):
        after, still = eye_gaps(FaceAugment(flip, turn, zoom, shift, light=0)(batch))
        was, whole_then = (before.flip(1), whole.flip(1)) if flip else (before, whole)
        both = still & whole_then
        assert both.sum() > 20
        assert (after - was)[both].abs().max() < 1, "whatever the move, an eye's landmarks lie where its label is"


def test_seeds_ranges_and_fields(batch):
    torch.manual_seed(0)
    augment = FaceAugment(light=0.9, extra=(K.RandomGaussianNoise(std=0.5, p=1.0),))
    torch.manual_seed(1)
    one = augment(batch)
    torch.manual_seed(1)
    again = augment(batch)
    assert torch.equal(one["image"], again["image"]) and torch.equal(one["labels"], again["labels"])
    assert one["image"].min() >= -1 and one["image"].max() <= 1 and one["labels"].dtype == batch["labels"].dtype
    assert (
        set(one["labels"].unique().tolist()) <= set(range(19))
        and one.keys() == batch.keys()
        and one["source"] == batch["source"]
    )
    assert not torch.equal(one["image"], batch["image"]) and torch.equal(one["aus_valid"], batch["aus_valid"])


def test_ignored_pixels_stay_ignored_and_missing_fields_are_not_needed(batch):
    torch.manual_seed(0)
    labels = torch.full_like(batch["labels"], IGNORE)
    assert (FaceAugment()({"image": batch["image"], "labels": labels})["labels"] == IGNORE).all()
    assert FaceAugment()({"image": batch["image"]})["image"].shape == batch["image"].shape


def test_nothing_asked_nothing_moved(batch):
    still = FaceAugment(flip=0, turn=0, zoom=0, shift=0, light=0)(batch)
    assert (still["image"] - batch["image"]).abs().max() < 0.02 and torch.equal(still["labels"], batch["labels"])
    assert torch.allclose(still["landmarks"], batch["landmarks"], atol=0.01)


@pytest.mark.parametrize("step", [
    K.RandomElasticTransform(), K.RandomThinPlateSpline(), K.RandomHorizontalFlip(), K.RandomAffine(10.0),
    K.RandomPerspective()])
def test_what_moves_pixels_is_refused(step):
    with pytest.raises(ValueError, match=type(step).__name__ + " moves pixels"):
        FaceAugment(extra=(step,))


@pytest.mark.parametrize("setting", [dict(flip=1.5), dict(zoom=1.0), dict(shift=-0.1), dict(light=float("nan"))])
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        FaceAugment(**setting)
