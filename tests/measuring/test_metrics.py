"Lesson 06a: metrics. Hand-computed cases first, then properties."
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expr_course.measuring.metrics import (CAP, changed, cycle, edit_alignment, edit_error, gain, leak, levels, psnr,
                                           still, summarize, zero_edit)

few = settings(deadline=None, max_examples=25)


def grey(*steps):
    "One case whose pixels have these 8-bit steps in all three channels."
    return (torch.tensor(steps).float() / 127.5 - 1).view(1, 1, 1, -1).expand(1, 3, 1, -1).clone()


def as_image(steps):
    return steps.float() / 127.5 - 1


@st.composite
def triples(draw, low=0, high=255):
    "x, y, x*: 3×3×5×4 images of whole steps, in which some pixel surely changes and another surely stays."
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    x, y, target = (torch.randint(low, high + 1, (3, 3, 5, 4), generator=generator) for _ in range(3))
    target[:, :, 0] = x[:, :, 0]
    target[:, :, 1] = (x[:, :, 1] + 60 - low) % (high - low) + low
    return as_image(x), as_image(y), as_image(target)


def test_levels_round_like_a_saved_picture():
    assert levels(torch.tensor([-1.0, 1.0, -2.0, 3.0, 0.0, -0.99999])).tolist() == [0, 255, 0, 255, 128, 0]


# ---- by hand: pixel one must go 100 -> 140, pixel two stays at 50, pixel three is in no man's land (10 -> 13) ----
X, T = grey(100, 50, 10), grey(140, 50, 13)


def test_masks_by_hand():
    assert changed(X, T).flatten().tolist() == [True, False, False]
    assert still(X, T).flatten().tolist() == [False, True, False]
    one_channel = X.clone()
    one_channel[:, 1] += 5 / 127.5
    assert changed(X, one_channel).all() and not still(X, one_channel).any()
    assert not changed(grey(10), grey(14)).any() and changed(grey(10), grey(15)).all()
    assert still(grey(10), grey(11)).all() and not still(grey(10), grey(12)).any()


def test_edit_error_by_hand():
    assert edit_error(X, grey(130, 53, 99), T).item() == pytest.approx(10 / 40)
    assert edit_error(X, grey(90, 50, 10), T).item() == pytest.approx(50 / 40)


def test_edit_alignment_by_hand():
    made, due = (30, 3, 0), (40, 0, 3)
    cosine = sum(a * b for a, b in zip(made, due)) / math.hypot(*made) / math.hypot(*due)
    assert edit_alignment(X, grey(130, 53, 10), T).item() == pytest.approx(cosine, abs=1e-6)


def test_gain_by_hand():
    made, due = (30, 3, 0), (40, 0, 3)
    share = sum(a * b for a, b in zip(made, due)) / (40**2 + 3**2)
    assert gain(X, grey(130, 53, 10), T).item() == pytest.approx(share, abs=1e-6)
    assert gain(grey(100), grey(150), grey(140)).item() == pytest.approx(50 / 40)  # too much
    assert gain(grey(100), grey(90), grey(140)).item() == pytest.approx(-10 / 40)  # the wrong way


def test_leak_by_hand():
    y = grey(130, 53, 99)
    assert leak(X, y, T).item() == 3
    y[:, 0] = X[:, 0]  # one channel of three stays: the mean is over channels too
    assert leak(X, y, T).item() == pytest.approx(2)


def test_psnr_by_hand():
    assert psnr(grey(100, 50), grey(101, 49)).item() == pytest.approx(20 * math.log10(255), abs=1e-4)  # 48.13 dB
    assert psnr(grey(0, 0), grey(255, 255)).item() == pytest.approx(0, abs=1e-6)
    assert psnr(grey(100, 50), grey(100, 52)).item() == pytest.approx(10 * math.log10(255**2 / 2), abs=1e-4)
    assert psnr(X, X).item() == CAP == 99


def test_zero_edit_and_cycle_by_hand():
    def brighten(images, source, rel):
        return images + rel.sum() / 127.5

    def drift(images, source, rel):
        return images + 1 / 127.5
    source, target = torch.zeros(1, 17, 2), torch.zeros(1, 17, 2)
    target[0, 8, 0] = 1
    y = brighten(X, source, target)
    assert zero_edit(brighten, X, source).item() == 99 and cycle(brighten, X, y, source, target).item() == 99
    assert zero_edit(drift, X, source).item() == pytest.approx(48.13, abs=0.01)
    assert cycle(drift, X, drift(X, source, target), source, target).item() == pytest.approx(
        10 * math.log10(255**2 / 4), abs=0.01
    )


def test_cycle_hands_the_target_over_as_the_new_source():
    seen = []
    def edit(images, source, rel):
        return seen.append((source, rel)) or images
    source, target = torch.rand(2, 17, 2), torch.rand(2, 17, 2)
    cycle(edit, torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2), source, target)
    assert torch.equal(seen[0][0], target) and torch.equal(seen[0][1], source - target)


# ---- properties ----
@few
@given(triples())
def test_the_copy(case):
    x, _, target = case
    assert torch.equal(edit_error(x, x, target), torch.ones(3)) and torch.equal(leak(x, x, target), torch.zeros(3))
    assert torch.equal(gain(x, x, target), torch.zeros(3))
    assert torch.equal(edit_alignment(x, x, target), torch.zeros(3)) and torch.equal(psnr(x, x), torch.full((3,), 99.0))


@few
@given(triples())
def test_the_true_counterfactual(case):
    x, _, target = case
    assert torch.equal(edit_error(x, target, target), torch.zeros(3))
    for metric in (edit_alignment, gain):
        assert torch.allclose(metric(x, target, target), torch.ones(3), atol=1e-5)
    assert (leak(x, target, target) <= 1).all()


@few
@given(triples(low=100, high=175))
def test_the_opposite(case):
    x, _, target = case
    opposite = as_image(2 * levels(x) - levels(target))
    for metric in (edit_alignment, gain):
        assert torch.allclose(metric(x, opposite, target), -torch.ones(3), atol=1e-5)
    assert torch.allclose(edit_error(x, opposite, target), torch.full((3,), 2.0))


@few
@given(triples(), st.integers(0, 2**31))
def test_jitter_below_half_a_step_changes_nothing(case, seed):
    generator = torch.Generator().manual_seed(seed)
    jittered = [image + (torch.rand(image.shape, generator=generator) - 0.5) * 0.9 / 127.5 for image in case]
    for metric in (edit_error, edit_alignment, gain, leak):
        assert torch.equal(metric(*case), metric(*jittered))


@few
@given(triples())
def test_each_case_for_itself(case):
    for metric in (edit_error, edit_alignment, gain, leak):
        singly = torch.cat([metric(*(image[k:k + 1] for image in case)) for k in range(3)])
        assert torch.allclose(metric(*case), singly, atol=1e-6)


@few
@given(triples())
def test_each_looks_where_it_should(case):
    x, y, target = case
    inside, outside = changed(x, target), still(x, target)
    assert not (inside & outside).any()
    assert torch.equal(edit_error(x, torch.where(inside, target, y), target), torch.zeros(3))  # blind outside
    assert torch.equal(leak(x, torch.where(outside, x, y), target), torch.zeros(3))            # blind inside
    assert (edit_alignment(x, y, target).abs() <= 1 + 1e-5).all() and torch.allclose(psnr(x, y), psnr(y, x))


def test_noise_aligns_with_nothing():
    generator = torch.Generator().manual_seed(0)
    x, target = as_image(torch.full((2, 1, 3, 64, 64), 120))
    target[..., 20:40, 20:40] = 0.5
    noise = torch.randint(-4, 5, x.shape, generator=generator) / 127.5
    assert abs(edit_alignment(x, x + noise, target).item()) < 0.03


@few
@given(triples())
def test_error_is_alignment_and_gain_together(case):
    x, y, target = case
    made, due = (levels(y) - levels(x)).flatten(1), (levels(target) - levels(x)).flatten(1)
    g, cosine = gain(*case), edit_alignment(*case)
    error = (made - due).square().sum(1) / due.square().sum(1)
    assert torch.allclose(error * cosine**2, (1 - 2 * g) * cosine**2 + g**2, atol=1e-3)


def test_cases_without_an_opinion_are_nan():
    x = torch.cat([X, X])
    target = torch.cat([X, T])
    for metric in (edit_error, edit_alignment, gain, leak):
        values = metric(x, x, target)
        assert values[0].isnan() and not values[1].isnan()
    everywhere = grey(110, 60, 20)
    assert leak(X, X, everywhere).isnan() and edit_error(X, X, everywhere) == 1


@pytest.mark.parametrize("metric", [edit_error, edit_alignment, gain, leak])
def test_unusable_images_are_named(metric):
    x, bad = torch.zeros(3, 3, 4, 4), torch.zeros(3, 3, 4, 4)
    bad[2, 0, 1, 1] = math.nan
    with pytest.raises(ValueError, match=r"y has NaN or infinite pixels in case 2 \(1 of 3"):
        metric(x, bad, x + 0.5)
    with pytest.raises(ValueError, match="y has shape"):
        metric(x, torch.zeros(3, 1, 4, 4), x)
    with pytest.raises(ValueError, match="shape"):
        metric(x[0], x[0], x[0])


def test_summary():
    values = torch.tensor([1.0, 2.0, 6.0, math.nan])
    out = summarize(values)
    assert (out["mean"], out["median"], out["count"], out["left_out"]) == (3, 2, 3, 1)
    assert out["sem"] == pytest.approx(math.sqrt(7) / math.sqrt(3))
    assert summarize(torch.tensor([math.nan])) == {"mean": None, "median": None, "sem": None, "count": 0, "left_out": 1}
    assert summarize(torch.tensor([4.0]))["sem"] == 0
