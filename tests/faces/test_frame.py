"""Lesson 02c: pose and parallax, the canonical frame, landmarks, and the regions of the action units."""
import os

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from torchvision.transforms.functional import pil_to_tensor

from expr_course.action_units import AUS, au_index, au_vector, sample_aus
from expr_course.faces import LABELS, render
from expr_course.faces.frame import (AU_REGION, FRAME, MAX_ROLL, MAX_YAW, body_to_image, frame_of, from_image,
                                     landmarks, region_mask, rotate, to_image)
from expr_course.faces.geometry import AUMaps, depth, jaw_skin, params
from expr_course.faces.identity import mirror, repeat, replace, sample_identities

seeds = st.integers(0, 2**31 - 1)
STRAIGHT = dict(yaw=0.0, pitch=0.0, roll=0.0, shift_x=0.0, shift_y=0.0, zoom=0.0)
BARE = dict(glasses=-1.0, hat=-1.0, hair_style=0.0, earring=-1.0, hand=-1.0)
MIRROR = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    27,
    28,
    29,
    30,
    35,
    34,
    33,
    32,
    31,
    45,
    44,
    43,
    42,
    47,
    46,
    39,
    38,
    37,
    36,
    41,
    40,
    # iBUG's points in a mirror
    54,
    53,
    52,
    51,
    50,
    49,
    48,
    59,
    58,
    57,
    56,
    55,
    64,
    63,
    62,
    61,
    60,
    67,
    66,
    65,
]


def tries(quick):
    """How many examples: few in `make test`, many in `make soak`."""
    return settings(max_examples=200 if os.environ.get("EXPR_SOAK") == "1" else quick)


def points_of(people, aus=None, size=128):
    p = params(people)
    return landmarks(p, frame_of(p), torch.zeros(len(people), 17, 2) if aus is None else aus, size)


# ---- to and fro ----

@given(seeds, st.integers(32, 96))
@tries(4)
def test_there_and_back(seed, size):
    p = params(sample_identities(3, seed))
    q, grid = frame_of(p), torch.arange(size)
    x, y = to_image(p, q, *from_image(p, q, size), size)
    off = ((x - grid[None, None, :]) ** 2 + (y - grid[None, :, None]) ** 2).sqrt()
    assert off.mean() < 0.002 * size and off.max() < 0.06 * size
    x, y = to_image(p, q, *from_image(p, q, size, steps=20), size)
    off = ((x - grid[None, None, :]) ** 2 + (y - grid[None, :, None]) ** 2).sqrt()
    assert off.mean() < 2e-5 * size, "more steps come closer"


@given(seeds)
@tries(4)
def test_back_and_there(seed):
    """A place on the smooth part of the face is found again by the pixel that shows it."""
    people = replace(sample_identities(2, seed), shift_x=0.0, shift_y=0.0)
    p = params(people)
    q, size = frame_of(p), 256
    u, v = from_image(p, q, size)
    x, y = to_image(p, q, p.eye_x, p.mouth_y, size)
    for k in range(2):
        i, j = y[k].round().long().item(), x[k].round().long().item()
        assert abs(u[k, i, j] - p.eye_x[k]) < 0.02 and abs(v[k, i, j] - p.mouth_y[k]) < 0.02


def test_a_straight_face_needs_no_parallax():
    p = params(replace(sample_identities(4, seed=1), **STRAIGHT))
    q = frame_of(p)
    for one, other in zip(from_image(p, q, 64, steps=0), from_image(p, q, 64)):
        assert torch.allclose(one, other, atol=1e-5)


def test_near_things_move_more():
    people = sample_identities(5, seed=2)
    p, q = (f(params(replace(people, **STRAIGHT | {"yaw": 1.0}))) for f in (lambda p: p, frame_of))
    tip = p.eye_y + 0.85 * p.nose_length
    assert (rotate(p, q, 0 * tip, tip)[0] > rotate(p, q, 0 * tip, p.eye_y)[0] + 0.02).all(), (
        "the nose travels further than its root"
    )
    flat, full = (rotate(p, q, p.eye_x, p.eye_y, z)[0] for z in (0 * p.eye_x, None))
    assert torch.allclose(full - flat, depth(p, p.eye_x, p.eye_y) * q.sy)


def test_pixel_centres_are_whole_numbers():
    p = params(replace(sample_identities(1, seed=3), **STRAIGHT))
    q = frame_of(p)
    for size in (32, 128):
        x, y = body_to_image(q, q.x - q.scale, q.y + q.scale, size)     # a straight body is the plane of the picture
        assert abs(x.item() + 0.5) < 1e-4 and abs(y.item() - (size - 0.5)) < 1e-4, (
            "the picture's edges lie half a pixel outside"
        )


# ---- the frame ----

@given(seeds)
@tries(8)
def test_frame_rule(seed):
    people = replace(sample_identities(4, seed), shift_x=0.0, shift_y=0.0, zoom=0.0, roll=0.0)
    p, size = params(people), 128
    q = frame_of(p)
    left, right, mouth = (torch.cat(to_image(p, q, u, v, size), -1)[:, 0] for u, v in
                          ((p.eye_x, p.eye_y), (-p.eye_x, p.eye_y), (0 * p.eye_x, p.mouth_y)))
    eyes = (left + right) / 2
    assert (left[:, 0] > right[:, 0]).all(), "the person's left eye is on the picture's right"
    assert ((left - right)[:, 1]).abs().max() < 0.01 * size, "upright by the eye line"
    assert (eyes + FRAME["shift"] * (mouth - eyes) - (size - 1) / 2).abs().max() < 1e-3 * size
    half = torch.maximum(FRAME["eyes"] * (left - right).norm(dim=1), FRAME["mouth"] * (mouth - eyes).norm(dim=1))
    assert (half - size / 2).abs().max() < 1e-3 * size


def test_no_expression_moves_the_frame():
    people = sample_identities(2, seed=4)
    aus = torch.rand(2, 17, 2, generator=torch.Generator().manual_seed(1))
    p = params(people)
    assert not torch.equal(points_of(people, aus), points_of(people))
    assert torch.equal(frame_of(p).scale, frame_of(params(people)).scale)
    corners = (render(people, aus, 64).image - render(people, 0 * aus, 64).image)[:, :, :8, :8]
    assert (corners == 0).all()


def test_pose_stays_small():
    person = sample_identities(1, seed=5)
    q = frame_of(params(replace(repeat(person, 2), yaw=torch.tensor([-1.0, 1.0]))))
    assert torch.allclose(q.sy.flatten().asin(), torch.tensor([-MAX_YAW, MAX_YAW]))
    q = frame_of(params(replace(person, yaw=0.0, pitch=0.0, roll=1.0)))
    assert torch.allclose(q.sr.asin(), torch.tensor(MAX_ROLL))


# ---- landmarks ----

LANDMARKED = [
    (range(36, 42), ("r_eye",)), (range(42, 48), ("l_eye",)), (range(48, 60), ("mouth", "u_lip", "l_lip")),
    (range(60, 68), ("mouth",)),
]


def polygon(points, size, around=1):
    """The inside of a polygon and some pixels around it: bool size×size."""
    picture = Image.new("L", (size, size))
    ImageDraw.Draw(picture).polygon([tuple(point) for point in points.tolist()], fill=255, outline=255)
    return F.max_pool2d((pil_to_tensor(picture) > 127).float(), 2 * around + 1, 1, around)[0] > 0


@given(seeds)
@tries(3)
def test_landmarks_enclose_their_labels(seed):
    people, aus, size = replace(sample_identities(4, seed), **BARE), sample_aus(4, seed), 96
    sample = render(people, aus, size)
    for which, names in LANDMARKED:
        here = torch.isin(sample.labels, torch.tensor([LABELS.index(name) for name in names]))
        for k in range(4):
            outer, inner = (polygon(sample.landmarks[k, list(which)], size, around) for around in (1, 0))
            if here[k].sum() > 12:
                assert (here[k] & outer).sum() > 0.9 * here[k].sum(), (names, k)
            if inner.sum() > 60:
                assert (here[k] & inner).sum() > 0.4 * inner.sum(), (names, k)


@given(seeds)
@tries(3)
def test_single_landmarks_lie_on_their_labels(seed):
    people = replace(sample_identities(4, seed), **BARE, beard=-1.0)
    sample = render(people, torch.zeros(4, 17), 128)

    def labels_at(points):
        x, y = points.round().long().clamp(0, 127).unbind(-1)
        return [LABELS[sample.labels[k, y[k], x[k]]] for k in range(4)]

    marks = sample.landmarks
    assert set(labels_at(marks[:, 42:48].mean(1))) == {"l_eye"} and set(labels_at(marks[:, 36:42].mean(1))) == {"r_eye"}
    assert set(labels_at((marks[:, 51] + marks[:, 62]) / 2)) == {"u_lip"} and set(
        labels_at((marks[:, 57] + marks[:, 66]) / 2)
    ) == {"l_lip"}
    assert set(labels_at(marks[:, 30])) == {"nose"}
    assert set(labels_at(marks[:, 24])) <= {"l_brow"} and set(labels_at(marks[:, 19])) <= {"r_brow"}
    inward = torch.lerp(marks[:, :17], marks[:, 29:30], 0.06)
    assert {name for k in range(17) for name in labels_at(inward[:, k])} <= {"skin"}


@given(seeds)
@tries(4)
def test_mirrored_people_have_mirrored_landmarks(seed):
    people, aus, size = sample_identities(3, seed), sample_aus(3, seed, asymmetry=0.5), 96
    seen, flipped = points_of(mirror(people), aus.flip(-1), size), points_of(people, aus, size)[:, MIRROR]
    flipped[..., 0] = size - 1 - flipped[..., 0]
    assert (seen - flipped).abs().max() < 1e-2


@pytest.mark.parametrize(
    "name, point, axis, least",
    [
        ("AU01", 21, 1, -2), ("AU02", 18, 1, -2), ("AU04", 20, 1, 1.5), ("AU05", 37, 1, -1), ("AU06", 41, 1, -0.3),
        ("AU07", 40, 1, -0.4), ("AU45", 38, 1, 2), ("AU09", 32, 1, -0.5), ("AU10", 51, 1, -1.5), ("AU12", 54, 1, -3),
        ("AU12", 48, 0, -2), ("AU14", 54, 0, -0.5), ("AU15", 54, 1, 3), ("AU17", 57, 1, -0.5), ("AU20", 54, 0, 2),
        ("AU23", 54, 0, -1.5), ("AU25", 66, 1, 1), ("AU26", 8, 1, 4), ("AU26", 57, 1, 3),
    ],
)
def test_landmarks_act(name, point, axis, least):
    people = replace(sample_identities(5, seed=6), **STRAIGHT)
    aus = au_vector({name: 1.0}).expand(5, -1, -1)
    moved = (points_of(people, aus) - points_of(people))[:, point, axis]
    assert (moved * (1 if least > 0 else -1) > abs(least)).all()


def test_jaw_points_sit_on_moved_skin():
    people = sample_identities(3, seed=7)
    p, aus = params(people), au_vector({"AU26": 1.0}).expand(3, -1, -1)
    straight = params(replace(people, **STRAIGHT))
    q = frame_of(straight)
    marks = landmarks(straight, q, aus, 128)
    v = (((marks[:, :17, 1:] + 0.5) * 2 / 128 - 1) * q.scale + q.y)
    back = jaw_skin(straight, AUMaps(aus, torch.ones(3, 1, 1)), v)
    shares = (back - p.eye_y) / (p.chin_y - p.eye_y)
    assert (
        shares[:, :8] - torch.tensor((0.0, 0.22, 0.42, 0.60, 0.75, 0.86, 0.94, 0.985))[None, :, None]
    ).abs().max() < 1e-3
    assert (shares[:, 8] - 1).abs().max() < 1e-3


@given(seeds)
@tries(4)
def test_gradients_of_landmarks_are_finite(seed):
    people = sample_identities(2, seed)
    aus = sample_aus(2, seed).requires_grad_()
    gradient = torch.autograd.grad(points_of(people, aus).sum(), aus)[0]
    assert gradient.isfinite().all() and gradient.abs().max() > 0


# ---- regions ----

def test_every_au_has_a_region():
    assert set(AU_REGION) == set(AUS)
    for near, far, top, bottom in AU_REGION.values():
        assert 0 <= near < far and top < bottom


def changed(people, base, row, sides, size):
    """Pixels that change when an AU goes from 0 to 1 while the others stay as in base: bool N×size×size."""
    low, high = base.clone(), base.clone()
    low[:, row, sides], high[:, row, sides] = 0, 1
    one, other = render(people, low, size), render(people, high, size)
    return (one.image != other.image).any(1) | (one.labels != other.labels)


@pytest.mark.parametrize("name", AUS)
@given(
    seed=seeds, size=st.sampled_from((32, 48, 64, 96)), sides=st.sampled_from(([0, 1], [0], [1])),
    company=st.sampled_from(("neutral", "plausible", "all")),
)
@tries(2)
def test_nothing_changes_outside_the_region(name, seed, size, sides, company):
    people = sample_identities(3, seed)
    base = {"neutral": torch.zeros(3, 17, 2), "plausible": sample_aus(3, seed),
            "all": torch.rand(3, 17, 2, generator=torch.Generator().manual_seed(seed)).round()}[company]
    change = changed(people, base, au_index(name), sides, size)
    mask = region_mask(people, name, size, side=sides[0] if len(sides) == 1 else None)
    assert (
        mask.shape == (3, 1, size, size) and mask.dtype == torch.float32 and set(mask.unique().tolist()) <= {0.0, 1.0}
    )
    assert not (change & (mask[:, 0] == 0)).any()
    assert change.any() or company != "neutral"


def test_regions_are_small_and_turn_with_the_head():
    people = replace(repeat(sample_identities(1, seed=8), 2), yaw=torch.tensor([-1.0, 1.0]))
    for name in AUS:
        mask = region_mask(people, name, 64)
        assert mask.mean() < (0.5 if name == "AU26" else 0.36), name
        assert not torch.equal(mask[0], mask[1])


def test_sides_by_name_and_by_number():
    people = sample_identities(3, seed=9)
    left, right, both = (
        region_mask(people, "AU12L", 64), region_mask(people, "AU12R", 64), region_mask(people, "AU12", 64),
    )
    assert torch.equal(left, region_mask(people, "AU12", 64, side=0)) and torch.equal(
        right, region_mask(people, "AU12", 64, side=1)
    )
    assert torch.equal(torch.maximum(left, right), both) and (left + right > both).any(), (
        "they share the blend at the midline"
    )
    middle = torch.arange(64.0)
    assert (
        (left * middle).sum((1, 2, 3)) / left.sum((1, 2, 3))
        > (right * middle).sum((1, 2, 3)) / right.sum((1, 2, 3)) + 8
    ).all()


def test_margin():
    people = sample_identities(2, seed=10)
    masks = [region_mask(people, "AU45", 64, margin=margin) for margin in (0, 0.5, 1, 3)]
    assert torch.equal(masks[1], masks[2])
    assert all(
        (small <= large).all() and small.sum() < large.sum() for small, large in zip(masks[::2], (masks[1], masks[3]))
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("AU99",), "AU99"), (("AU12", 64, 2), "side is 0"), (("AU12", 64, "L"), "side is 0"),
        (("AU12", 64, None, -1.0), "at least 0"), (("AU12", 64, None, float("nan")), "at least 0"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        region_mask(sample_identities(1, seed=1), *arguments)
