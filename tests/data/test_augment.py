"""The augmentation: picture, labels, landmarks and action units move together, left and right change places in all of
them, outside is unknown, and a seed says it all."""
import warnings

import kornia.augmentation as K
import kornia.enhance
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from expr_course.action_units import sample_aus
from expr_course.data.augment import (FOR_ESTIMATORS, FOR_PARSERS, LANDMARK_MIRROR, OUTSIDE, AugmentSettings,
                                      FaceAugment, mirror_faces, mirror_labels, mirror_landmarks, mirror_table,
                                      move_together, recolour)
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


QUICK = settings(
    max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate])
STILL = AugmentSettings(flip=0, turn=0, zoom=0, shift=0, light=0)
STEPS = {"hide": dict(hide=1), "light": dict(light=0.5), "uneven": dict(uneven=0.5), "grey": dict(grey=1),
         "spoil": dict(spoil=1), "jpeg": dict(jpeg=1)}


def only(**changes):
    return FaceAugment(AugmentSettings(**vars(STILL) | changes))


@QUICK
@given(st.integers(0, 10**6), st.floats(0, 25), st.floats(0, 0.15), st.floats(0, 0.1), st.floats(0, 0.08))
def test_landmarks_still_lie_on_the_labels(batch, seed, turn, zoom, squeeze, shift):
    before, whole = eye_gaps(batch)
    for flip in (0.0, 1.0):
        after, still = eye_gaps(only(flip=flip, turn=turn, zoom=zoom, squeeze=squeeze, shift=shift)(batch, seed))
        was, whole_then = (before.flip(1), whole.flip(1)) if flip else (before, whole)
        both = still & whole_then
        assert both.sum() > 20
        assert (after - was)[both].abs().max() < 1, "whatever the move, an eye's landmarks lie where its label is"


def test_outside_is_unknown_and_only_outside(batch):
    shift = torch.eye(3).repeat(32, 1, 1)
    shift[:, 0, 2], shift[:, 1, 2] = 20, -7  # to the right, and up
    part = {k: batch[k] for k in ("image", "labels", "landmarks")} | {"masks": torch.ones(32, 2, 96, 96)}
    got = move_together(part, shift)
    assert (got["labels"][:, :, :20] == OUTSIDE).all() and (got["labels"][:, -7:] == OUTSIDE).all()
    assert torch.equal(got["labels"][:, :-7, 20:], batch["labels"][:, 7:, :-20])
    assert torch.allclose(got["image"][:, :, :-7, 20:], batch["image"][:, :, 7:, :-20], atol=1e-3)
    assert torch.allclose(got["image"][:, :, :-7, :20], got["image"][:, :, :-7, 21:41].flip(-1), atol=1e-2), "reflected"
    assert torch.allclose(got["landmarks"], batch["landmarks"] + torch.tensor([20.0, -7.0]), atol=1e-3)
    assert got["masks"][:, :, :-7, 20:].min() > 0.999 and got["masks"][:, :, :, :20].max() < 0.001
    assert got["labels"].dtype == batch["labels"].dtype


def test_no_reflected_side_is_learnt():
    """A picture whose left half is class 4 and whose right half is class 5: a reflection would put a 5 left of a 4."""
    halves = torch.full((64, 40, 40), 4)
    halves[:, :, 20:] = 5
    got = FaceAugment(AugmentSettings(flip=0, turn=30, zoom=0.2, shift=0.3, light=0))({"labels": halves}, 3)["labels"]
    assert set(got.unique().tolist()) == {4, 5, OUTSIDE} and (got == OUTSIDE).float().mean() > 0.1
    fours, fives = (torch.where(got == k, torch.arange(40), empty) for k, empty in ((4, -1), (5, 40)))
    assert (fours.amax(-1) < fives.amin(-1)).all()


@pytest.mark.parametrize("wanted", [FOR_PARSERS, FOR_ESTIMATORS, AugmentSettings()])
def test_the_same_seed_gives_the_same_batch(batch, wanted):
    augment, state = FaceAugment(wanted), torch.random.get_rng_state()
    one, again, other = augment(batch, 5), augment(batch, 5), augment(batch, 6)
    assert torch.equal(state, torch.random.get_rng_state()), "the global random numbers are left alone"
    for name in ("image", "labels", "landmarks", "aus"):
        assert torch.equal(one[name], again[name]) and not torch.equal(one[name], other[name])
    torch.manual_seed(1)
    one = augment(batch)
    torch.manual_seed(1)
    assert torch.equal(augment(batch)["image"], one["image"]), "without a seed, torch's global one decides"


def test_ranges_fields_and_what_was_given(batch):
    kept = {k: v.clone() if isinstance(v, torch.Tensor) else list(v) for k, v in batch.items()}
    augment = FaceAugment(FOR_PARSERS, extra=(K.RandomGaussianNoise(std=0.5, p=1.0),))
    got = augment(batch, 1)
    assert torch.equal(got["image"], augment(batch, 1)["image"]), "kornia's random numbers come from the seed too"
    assert got["image"].min() >= -1 and got["image"].max() <= 1 and got["labels"].dtype == batch["labels"].dtype
    assert got.keys() == batch.keys() and got["source"] == batch["source"]
    assert not torch.equal(got["image"], batch["image"]) and torch.equal(got["aus_valid"], batch["aus_valid"])
    for name, value in kept.items():
        assert torch.equal(batch[name], value) if isinstance(value, torch.Tensor) else batch[name] == value, name


@pytest.mark.parametrize("names", [
    ("image",), ("labels",), ("masks",), ("image", "labels"), ("image", "aus"), ("image", "landmarks"),
    ("image", "aus", "masks"), ("labels", "landmarks"), ("image", "labels", "landmarks", "aus", "masks")])
def test_every_field_is_optional_and_the_others_do_not_change_it(batch, names):
    some = batch | {"masks": torch.isin(batch["labels"], torch.tensor([11, 12]))[:, None].float()}
    every, got = FaceAugment(FOR_PARSERS)(some, 2), FaceAugment(FOR_PARSERS)({k: some[k] for k in names}, 2)
    assert got.keys() == set(names)
    if "image" in names:
        assert all(torch.equal(got[k], every[k]) for k in names)
    else:
        assert all(got[k].shape == some[k].shape for k in names)


def test_masks_and_labels_move_as_one(batch):
    lips = torch.isin(batch["labels"], torch.tensor([11, 12]))[:, None].float()
    got = only(flip=0.5, turn=15, zoom=0.2, shift=0.05, hide=0.5)(batch | {"masks": lips}, 4)
    there = torch.isin(got["labels"], torch.tensor([11, 12]))[:, None].float()
    assert got["masks"].min() >= 0 and got["masks"].max() <= 1
    assert ((got["masks"] > 0.5).float() - there).abs().mean() < 0.005


@pytest.mark.parametrize("batch", [{}, {"aus": torch.zeros(2, 17, 2)}, {"landmarks": torch.zeros(2, 68, 2)}])
def test_a_batch_without_places(batch):
    with pytest.raises(ValueError, match="one of image, labels, masks"):
        FaceAugment()(batch)


def test_ignored_pixels_stay_ignored(batch):
    labels = torch.full_like(batch["labels"], IGNORE)
    assert OUTSIDE == IGNORE
    assert (FaceAugment()({"image": batch["image"], "labels": labels}, 0)["labels"] == IGNORE).all()


def test_nothing_asked_nothing_changed(batch):
    calm = AugmentSettings(**vars(FOR_PARSERS) | dict(flip=0))
    for got in (only()(batch, 1), FaceAugment(calm)(batch, 1, strength=0.0)):
        for name in ("image", "labels", "landmarks", "aus"):
            assert torch.equal(got[name], batch[name])


def test_strength_is_for_each_face(batch):
    few = {k: v[:1].repeat_interleave(5, 0) for k, v in batch.items() if k in ("image", "labels", "landmarks")}
    augment = only(turn=20, zoom=0.2, light=0.5, spoil=1)
    got = augment(few, 3, torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]))
    for name, value in got.items():
        assert torch.equal(value[:2], few[name][:2]) and not torch.equal(value[2:], few[name][2:])
    near, far = (augment(few, 3, x)["landmarks"] - few["landmarks"] for x in (0.1, 1.0))
    assert near.abs().max() < 0.3 * far.abs().max()


@pytest.mark.parametrize("name", STEPS)
def test_light_and_camera_move_nothing(batch, name):
    got = only(**STEPS[name])(batch, 2)
    assert not torch.equal(got["image"], batch["image"]) and torch.equal(got["landmarks"], batch["landmarks"])
    changed = got["labels"] != batch["labels"]
    assert (got["labels"][changed] == 0).all() and bool(changed.any()) == (name == "hide")
    if name == "grey":
        assert (got["image"] - got["image"][:, :1]).abs().max() < 1e-5


@pytest.mark.parametrize("name, share", [("flip", 0.25), ("share", 0.5), ("moved", 0.5), ("grey", 0.25)])
def test_shares(batch, name, share):
    many = {"image": batch["image"][:1, :, ::8, ::8].expand(400, -1, -1, -1).contiguous()}
    base = dict(flip=dict(), share=dict(light=0.5), moved=dict(turn=20), grey=dict())[name]
    got = only(**base | {name: share})(many, 1)["image"]
    changed = (got - many["image"]).abs().amax((1, 2, 3)) > 1e-4
    assert abs(changed.float().mean() - share) < 0.08


def test_colour_as_kornia_has_it():
    x, k = torch.rand(4, 3, 8, 8) * 0.5 + 0.2, torch.rand(4) * 0.4 + 0.8
    plain, ones = torch.ones(4, 3), torch.ones(4, 1)
    assert torch.allclose(recolour(x, plain, ones, ones), x, atol=1e-6)
    for ours, theirs in (
        (recolour(x, plain, k[:, None], ones), kornia.enhance.adjust_contrast_with_mean_subtraction(x, k)),
        (recolour(x, plain, ones, k[:, None]), kornia.enhance.adjust_saturation_with_gray_subtraction(x, k)),
        (recolour(x, plain * k[:, None], ones, ones), kornia.enhance.adjust_brightness_accumulative(x, k)),
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("step", [
    K.RandomElasticTransform(), K.RandomThinPlateSpline(), K.RandomHorizontalFlip(), K.RandomAffine(10.0),
    K.RandomPerspective()])
def test_what_moves_pixels_is_refused(step):
    with pytest.raises(ValueError, match=type(step).__name__ + " moves pixels"):
        FaceAugment(extra=(step,))


@pytest.mark.parametrize("setting", [
    dict(flip=1.5), dict(zoom=1.0), dict(shift=-0.1), dict(light=float("nan")), dict(turn=200), dict(hide=2)])
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        AugmentSettings(**setting)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU: it must give the batch that the CPU gives")
def test_a_gpu_gives_the_same_batch(batch):
    there = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a, b = FaceAugment(FOR_PARSERS)(batch, 4), FaceAugment(FOR_PARSERS)(there, 4)
    assert b["image"].is_cuda and (a["image"] - b["image"].cpu()).abs().mean() < 0.01
    assert (a["labels"] == b["labels"].cpu()).float().mean() > 0.999
