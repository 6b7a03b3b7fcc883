"""Lesson 02b: the soft shapes, and the curves that action units bend."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expr_course.action_units import AUS, au_index, au_vector, sample_aus
from expr_course.faces.geometry import (BLEND, AUMaps, brow_curve, bump, depth, eye_curves, jaw_drop, jaw_skin,
                                        mouth_curves, nose_base, outline, outline_width, params, ridge, smooth,
                                        window)
from expr_course.faces.identity import NAMES, sample_identities

seeds = st.integers(0, 2**31 - 1)
small = st.floats(-3, 3, allow_nan=False, width=32)
U = torch.linspace(0, 0.7, 281)[None, None]


def of(values, n=1):
    """Maps of the left half of the face, for AUs given by name."""
    return AUMaps(au_vector(values).expand(n, -1, -1), U.clamp(min=2 * BLEND))


def random_aus(n, seed):
    return torch.rand(n, len(AUS), 2, generator=torch.Generator().manual_seed(seed % 2**60))


# ---- soft shapes ----

@given(small, small)
def test_smooth(x, y):
    low, high = sorted((x, y))
    a, b = smooth(torch.tensor([low, high])).tolist()
    assert 0 <= a <= b + 1e-6 <= 1 + 2e-6
    assert smooth(torch.tensor([low])).item() == 0 or low > 0
    assert abs(smooth(torch.tensor(x)) + smooth(torch.tensor(1 - x)) - 1) < 1e-5


def test_shapes_are_level_at_their_ends():
    for shape, ends in (
        (smooth, (0.0, 1.0)), (lambda x: bump(x, 0 * x, 0, 0, 1, 1), (-1.0, 0.0, 1.0)),
        (lambda x: ridge(x, 1.0), (-1.0, 0.0, 1.0)), (lambda x: window(x, -1, 1, 0.5), (-1.0, -0.5, 0.5, 1.0)),
    ):
        x = torch.tensor(ends, requires_grad=True)
        assert torch.autograd.grad(shape(x).sum(), x)[0].abs().max() < 1e-6


@given(small, small, st.floats(0.05, 2), st.floats(0.05, 2))
def test_bump_ends_at_its_rim(u, v, radius_u, radius_v):
    value = bump(torch.tensor(u), torch.tensor(v), 0.3, -0.2, radius_u, radius_v).item()
    r = ((u - 0.3) / radius_u) ** 2 + ((v + 0.2) / radius_v) ** 2
    assert (value == 0) if r > 1.001 else 0 <= value <= 1
    assert bump(torch.tensor(0.3), torch.tensor(-0.2), 0.3, -0.2, radius_u, radius_v) == 1


def test_window():
    x = torch.linspace(-2, 2, 401)
    w = window(x, -0.6, 0.7, 0.3)
    assert (
        (w[(x < -0.6) | (x > 0.7)] == 0).all()
        and (w[(x > -0.3) & (x < 0.4)] == 1).all()
        and ((0 <= w) & (w <= 1)).all()
    )


@given(st.floats(0.005, 0.1), st.integers(16, 256), st.floats(-1, 1))
def test_ridge_keeps_its_ink_at_every_size(width, size, shift):
    px = torch.tensor(2 / size)
    d = (torch.arange(size) + 0.5) * 2 / size - 1 + shift * 2 / size
    line = ridge(d, width, px)
    assert line.max() <= 1 and (line[d.abs() > (width**2 + (1.3 * 2 / size) ** 2) ** 0.5 + 1e-6] == 0).all()
    ink, wanted = line.sum().item() * 2 / size, 16 / 15 * width
    assert abs(ink / wanted - 1) < 0.12, "a thin line neither vanishes nor swells in a coarse picture"


def test_naive_ridge_loses_its_ink():
    ink = [
        ridge((torch.arange(24) + 0.5) / 12 - 1 + shift, 0.01).sum().item()
        for shift in torch.linspace(0, 1 / 12, 9).tolist()
    ]
    assert min(ink) == 0 < max(ink)


# ---- people and action units at every place ----

def test_params():
    people = sample_identities(3, seed=1)
    p = params(people)
    assert set(vars(p)) == set(NAMES) and p.eye_y.shape == (3, 1, 1)
    assert torch.equal(p.mouth_y.flatten(), people["mouth_y"])


@given(seeds)
def test_au_maps_blend_only_at_the_midline(seed):
    aus = random_aus(2, seed)
    u = torch.linspace(-1, 1, 201)[None, None].expand(2, 3, -1)
    maps = AUMaps(aus, u)
    for name in ("AU01", "AU12", "AU45"):
        values = getattr(maps, name)
        left, right = aus[:, au_index(name), :, None, None].unbind(1)
        assert values.shape == u.shape
        assert torch.equal(values[u >= BLEND], left.expand_as(u)[u >= BLEND]) and torch.equal(
            values[u <= -BLEND], right.expand_as(u)[u <= -BLEND]
        )
        low, high = torch.minimum(left, right), torch.maximum(left, right)
        assert ((low - 1e-6 <= values) & (values <= high + 1e-6)).all()
    assert maps.AU12 is maps.AU12, "a map is computed once"


def test_au_maps_know_their_names():
    with pytest.raises(AttributeError, match="AU13.*AU12"):
        AUMaps(torch.zeros(1, 17, 2), torch.zeros(1, 1, 1)).AU13


# ---- curves ----

@given(seeds)
@settings(max_examples=15)
def test_a_blink_shuts_every_eye(seed):
    people, aus = sample_identities(4, seed), random_aus(4, seed)
    aus[:, au_index("AU45")] = 1
    t, upper, lower = eye_curves(params(people), AUMaps(aus, U), U)
    assert (upper >= lower - 1e-6).all()
    aus[:, au_index("AU45")] = 0
    t, upper, lower = eye_curves(params(people), AUMaps(aus, U), U)
    assert (upper <= lower + 1e-6).all() and ((lower - upper).amax(-1) > 0.01).all(), "and only a blink does"


@given(seeds)
@settings(max_examples=15)
def test_lips_never_cross(seed):
    t, half, top, seam_top, seam_low, bottom = mouth_curves(
        params(sample_identities(4, seed)), AUMaps(random_aus(4, seed), U), U
    )
    inside = t < 1
    for upper, lower in ((top, seam_top), (seam_top, seam_low), (seam_low, bottom)):
        assert (upper <= lower + 1e-6)[inside].all()
    assert ((bottom - top)[t >= 1].abs() < 1e-6).all(), "beyond the corners there is no mouth"
    assert (half > 0.1).all()


def heights(values):
    """Where the curves of six people lie for AUs given by name, at places that tell: {what: tensor of 6}."""
    p = params(sample_identities(6, seed=3))
    a = AUMaps(au_vector(values).expand(6, -1, -1), torch.full((6, 1, 1), 0.2))
    _, upper, lower = eye_curves(p, a, p.eye_x)
    inner, outer = (brow_curve(p, a, p.brow_x + k * p.brow_width)[1] for k in (-0.7, 0.7))
    _, half, top, seam_top, seam_low, bottom = mouth_curves(p, a, 0 * p.eye_x)
    corner = mouth_curves(p, a, half)[2]
    places = dict(
        upper=upper, lower=lower, inner=inner, outer=outer, top=top, gap=seam_low - seam_top, bottom=bottom,
        width=half, corner=corner, chin=jaw_drop(p, a),
    )
    return {what: place.flatten() for what, place in places.items()}


MOVES = [  # v grows downwards: a minus is up
    ("AU01", "inner", -0.03),
    ("AU02", "outer", -0.03),
    ("AU04", "inner", 0.02),
    ("AU04", "outer", 0.01),
    ("AU05", "upper", -0.01),
    ("AU06", "lower", -0.005),
    ("AU07", "upper", 0.005),
    ("AU07", "lower", -0.005),
    ("AU45", "upper", 0.03),
    ("AU10", "top", -0.02),
    ("AU12", "corner", -0.05),
    ("AU12", "width", 0.03),
    ("AU14", "width", -0.01),
    ("AU15", "corner", 0.04),
    ("AU17", "bottom", -0.01),
    ("AU20", "width", 0.03),
    ("AU23", "width", -0.02),
    ("AU25", "gap", 0.03),
    ("AU26", "chin", 0.05),
    ("AU26", "gap", 0.04),
]


@pytest.mark.parametrize("name, what, least", MOVES)
def test_each_au_moves_what_facs_says(name, what, least):
    rest, half, full = (heights({name: value})[what] for value in (0.0, 0.5, 1.0))
    sign = 1 if least > 0 else -1
    assert (
        (sign * (full - rest) >= abs(least)).all()
        and (sign * (half - rest) > 0).all()
        and (sign * (full - half) > 0).all()
    )


def test_combinations():
    assert (heights({"AU25": 1, "AU26": 1})["gap"] > heights({"AU26": 1})["gap"] + 0.03).all(), "26 opens what 25 parts"
    assert (heights({"AU12": 1, "AU25": 1})["gap"] > 0.03).all(), "a smile that shows teeth"
    sad = heights({"AU01": 1, "AU04": 1})
    assert (sad["inner"] - sad["outer"] < heights({})["inner"] - heights({})["outer"] - 0.02).all(), (
        "the sad brow slants"
    )


# ---- jaw, outline, depth ----

@given(seeds, st.floats(0, 1))
@settings(max_examples=10)
def test_jaw_skin_keeps_its_order(seed, amount):
    p = params(sample_identities(3, seed))
    v = torch.linspace(-1, 1.2, 400)[None, :, None]
    a = AUMaps(au_vector({"AU26": amount}).expand(3, -1, -1), torch.zeros(3, 1, 1))
    skin = jaw_skin(p, a, v)
    assert (skin.diff(dim=1) > 0).all(), "no strip of skin is shown twice"
    above = (v < p.mouth_y).expand_as(skin)
    assert torch.equal(skin[above], v.expand_as(skin)[above])
    assert torch.allclose(skin[:, -1], v[:, -1] - 0.10 * amount, atol=1e-6)


@given(seeds)
@settings(max_examples=15)
def test_outline_and_its_width_agree(seed):
    p = params(sample_identities(4, seed))
    share = torch.linspace(0.02, 0.98, 60)[None, :, None]
    v = torch.lerp(p.skull_top, p.chin_y, share)
    width = outline_width(p, v)
    assert outline(p, width, v).abs().max() < 1e-4
    assert (outline(p, 0.9 * width, v) < 0).all() and (outline(p, 1.1 * width, v) > 0).all()


def test_the_nose_stands_out():
    p = params(sample_identities(20, seed=2))
    tip, cheek = (depth(p, u, p.eye_y + 0.85 * p.nose_length) for u in (0 * p.eye_x, 0.3 + 0 * p.eye_x))
    assert (tip > cheek + 0.08).all()
    assert torch.allclose(depth(p, p.eye_x, p.eye_y), depth(p, -p.eye_x, p.eye_y))


def test_nose_base_is_lifted_by_the_wrinkler():
    p = params(sample_identities(3, seed=2))
    rest, wrinkled, raised = (nose_base(p, of(values, 3), U)[..., 60] for values in ({}, {"AU09": 1}, {"AU10": 1}))
    assert (wrinkled < raised).all() and (raised < rest).all()


@given(seeds)
@settings(max_examples=10)
def test_gradients_are_finite(seed):
    people = sample_identities(3, seed)
    aus = sample_aus(3, seed).requires_grad_()
    p, u = params(people), torch.linspace(-0.7, 0.7, 141)[None, None]
    a = AUMaps(aus, u)
    curves = [
        *eye_curves(p, a, u.abs()), *brow_curve(p, a, u.abs()), *mouth_curves(p, a, u.abs()), nose_base(p, a, u.abs()),
        jaw_skin(p, a, u),
    ]
    gradient = torch.autograd.grad(sum(curve.expand(3, 1, 141).sum() for curve in curves), aus)[0]
    assert gradient.isfinite().all() and (gradient.abs().sum((0, 2)) > 0).all(), "every AU bends some curve"
