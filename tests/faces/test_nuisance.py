"""What nuisances promise: the same seed does the same, place by place; nothing moves; nothing leaves the range;
gradients pass (lesson 02o)."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expr_course.faces import nuisance, sample_identities
from expr_course.faces.nuisance import NUISANCES, balance, blocks, blur, expose, nuisances, small

SEEDS, SIDES = st.integers(0, 2**31 - 1), st.integers(9, 40)
some = settings(max_examples=15, deadline=None)


def pictures(n=3, height=24, width=None, seed=0):
    """Soft random pictures in [-1, 1], N×3×H×W."""
    x = torch.rand(n, 3, height, width or height, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return 0.5 * x + 0.25 * (x.roll(1, -1) + x.roll(1, -2))


def full(value, n=1):
    return torch.full((n, 1, 1, 1), value)


def alone(kind, image, much, which=0.5):
    """One kind of nuisance by itself, on pictures in [0, 1]."""
    return kind(image, full(much, len(image)), full(which, len(image)))


@some
@given(SEEDS, SIDES, SIDES, st.floats(0, 1), st.floats(0, 1))
def test_shape_range_and_repeatable(seed, height, width, strength, share):
    x = pictures(2, height, width, seed)
    before, state = x.clone(), torch.get_rng_state()
    y = nuisances(x, seed, strength, share)
    assert y.shape == x.shape and y.dtype == x.dtype and y.isfinite().all()
    assert -1 <= y.min() and y.max() <= 1
    assert torch.equal(y, nuisances(x, seed, strength, share)), "the same seed, the same pictures"
    assert torch.equal(x, before), "the input is left alone"
    assert torch.equal(torch.get_rng_state(), state), "the global random state is neither read nor changed"


@some
@given(SEEDS, SIDES)
def test_company_does_not_matter(seed, size):
    """The k-th picture meets the k-th fate, at every size: also where the values are no multiple of sixteen."""
    x = pictures(5, size, seed=seed)
    many, few = nuisances(x, seed), nuisances(x[:2], seed)
    assert ((many[:2] - few).abs() < 1e-4).float().mean() > 0.99, "a rounded wave may tip over by one step, and no more"
    fine, again = (
        nuisance.noise(y, full(1.0, len(y)), full(0.5, len(y)), nuisance._dice(len(y), seed)) for y in (x, x[:2])
    )
    assert torch.equal(fine[:2], again)


def test_other_places_and_seeds_differ():
    x = pictures(1).expand(8, -1, -1, -1)
    y = nuisances(x, 0, share=1.0)
    assert all(not torch.equal(y[0], other) for other in y[1:]), "the same picture at another place has another fate"
    assert not torch.equal(y, nuisances(x, 1, share=1.0))


def test_not_the_numbers_of_the_people():
    """A face drawn from the same seed says nothing about what happens to its picture."""
    draws = torch.stack([nuisance._draws(nuisance._dice(1, seed), pictures())[0].flatten() for seed in range(300)])
    faces = torch.stack([sample_identities(1, seed=seed).values[0, :18] for seed in range(300)])
    both = torch.corrcoef(torch.cat([draws, faces], 1).T)[:18, 18:]
    assert both.abs().max() < 0.25


@some
@given(SEEDS, st.integers(4, 12), st.integers(4, 12))
def test_the_same_for_x_and_its_counterfactual(seed, top, left):
    """Where x and x* agree, and a little away from where they do not, they still agree when both are spoilt alike."""
    x = pictures(2, 48, seed=seed % 1000)
    target = x.clone()
    target[:, :, top:top + 4, left:left + 4] = 0.3
    a, b = nuisances(x, seed, share=1.0), nuisances(target, seed, share=1.0)
    assert torch.allclose(a[:, :, 32:, 32:], b[:, :, 32:, 32:], atol=1e-5)
    assert not torch.allclose(
        nuisances(x, seed, share=1.0)[:, :, 32:, 32:], nuisances(target, seed + 1 & 1023, share=1.0)[:, :, 32:, 32:],
        atol=1e-2,
    )


def test_nothing_when_not_asked():
    x = pictures(6, 33)
    assert torch.allclose(nuisances(x, 3, strength=0.0), x, atol=1e-6)
    assert torch.allclose(nuisances(x, 3, share=0.0), x, atol=1e-6)


def test_stronger_is_further():
    x = 0.8 * pictures(16, 32)
    far = [(nuisances(x, 5, strength=s) - x).abs().mean().item() for s in (0.1, 0.4, 1.0)]
    assert 0 < far[0] < far[1] < far[2]


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_share_says_how_often(share):
    happens = nuisance._draws(nuisance._dice(400, 1), pictures())[..., 0] < share
    assert happens.shape == (400, len(NUISANCES))
    assert (happens.float().mean(0) - share).abs().max() < 0.1
    pairs = torch.corrcoef(happens.float().T) - torch.eye(len(NUISANCES))
    assert pairs.abs().max() < 0.2, "the kinds happen independently of each other"


def test_gradients_pass():
    x = (0.9 * pictures(6, 24)).requires_grad_()
    for share in (0.5, 1.0):
        slope, = torch.autograd.grad(nuisances(x, 2, share=share).square().sum(), x)
        assert slope.isfinite().all() and (slope.flatten(1).abs().amax(1) > 0).all()


def test_other_kinds_of_float():
    x = pictures(2)
    y = nuisances(x, 1)
    for kind in (torch.float64, torch.float16):
        z = nuisances(x.to(kind), 1)
        assert z.dtype == kind and (z.float() - y).abs().mean() < 0.01


# ---- each kind does what its name says ----

def test_exposure_changes_all_pixels_one_way():
    x = (pictures(1) + 1) / 2
    step = alone(expose, x, 0.0) - x
    assert step.abs().max() < 1e-3
    order = x.flatten().argsort()
    for which in (0.0, 0.3, 0.9):
        y = alone(expose, x, 1.0, which).flatten()[order]
        assert (y.diff() >= -1e-6).all(), "what was brighter stays brighter"


def test_balance_tints_and_keeps_the_brightness_of_grey():
    grey = torch.full((1, 3, 4, 4), 0.5)
    for which in (0.0, 0.2, 0.7):
        y = alone(balance, grey, 1.0, which)
        assert (y.mean(1) - 0.5).abs().max() < 1e-5 and (y.amax(1) - y.amin(1)).min() > 0.05


@pytest.mark.parametrize("size", [32, 64, 128])
def test_blur_keeps_the_mean_and_scales(size):
    point = torch.zeros(2, 3, size, size)
    point[:, :, size // 2, size // 2] = 1
    y = blur(point, torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), full(0.5, 2))
    assert torch.allclose(y.sum((2, 3)), torch.ones(2, 3), atol=1e-4)
    assert y[0].amax() > 0.9, "no blur at strength 0, whatever its neighbour suffers"
    spread = (y[1, 0] > y[1, 0].max() / 2).float().sum().sqrt() / size
    assert 0.02 < spread < 0.06


def test_small_loses_detail_in_steps():
    x = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    spread = [alone(small, x, much).std().item() for much in (0.2, 0.5, 0.9)]
    assert alone(small, x, 0.9).shape == x.shape
    assert x.std() > spread[0] > spread[1] > spread[2]


def test_noise_is_stronger_in_the_shadows():
    levels = torch.tensor([0.1, 0.9]).view(2, 1, 1, 1).expand(2, 3, 64, 64)
    y = nuisance.noise(levels, full(1.0, 2), full(0.5, 2), nuisance._dice(2, 0)) - levels
    assert y[0].std() > 1.5 * y[1].std() > 0 and y.mean().abs() < 0.01


@pytest.mark.parametrize("height, width", [(16, 16), (17, 23)])
def test_blocks_are_eight_wide(height, width):
    x = torch.full((1, 3, height, width), 0.4)
    assert (alone(blocks, x, 1.0) - x).abs().max() < 0.03, "a plain picture stays plain"
    x[:, :, 0, 0] = 1.0
    change = (alone(blocks, x, 0.5) - alone(blocks, torch.full_like(x, 0.4), 0.5)).abs().amax(1)[0]
    assert change[:8, :8].max() > 0 and change[8:].max() < 1e-5 and change[:, 8:].max() < 1e-5, (
        "a block knows nothing of its neighbours"
    )


@pytest.mark.parametrize("change, says", [
    (dict(images=torch.zeros(3, 8, 8)), "3×8×8"), (dict(images=torch.zeros(2, 1, 8, 8)), "2×1×8×8"),
    (dict(images=torch.zeros(0, 3, 8, 8)), "0×3×8×8"),
    (dict(images=torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), "divide bytes"), (dict(strength=1.5), "strength"),
    (dict(share=-0.1), "share"), (dict(strength=float("nan")), "strength"), (dict(seed=-1), "seed"),
    (dict(seed=2**31), "seed"),
])
def test_refusals(change, says):
    with pytest.raises(ValueError, match=says):
        nuisances(**dict(images=torch.zeros(1, 3, 16, 16), seed=0) | change)
