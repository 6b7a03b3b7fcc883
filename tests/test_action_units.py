"Lesson 01: action units."
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expr_course.action_units import (AU_INFO, AUS, EMOTIONS, MAX_INTENSITY, N_AUS, REGIONS, apply_relative,
                                      as_sides, au_dict, au_index, au_vector, check_aus, clip_report,
                                      emotion_vector, merge_sides, parse_au, relative, sample_aus)

few = settings(deadline=None, max_examples=25)
unit = st.floats(0, 1, width=32)
vectors = st.lists(unit, min_size=2 * N_AUS, max_size=2 * N_AUS).map(lambda v: torch.tensor(v).view(N_AUS, 2))


def test_the_seventeen_in_openface_order():
    assert AUS == tuple(f"AU{k:02d}" for k in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45))
    assert N_AUS == len(AU_INFO) == 17 and sorted(sum(REGIONS.values(), ())) == sorted(AUS)
    assert all(info.name == name and info.title and info.description for name, info in AU_INFO.items())


@pytest.mark.parametrize("text", ["AU12", "au12", " AU12 ", "AU 12"])
def test_names_are_read_generously(text):
    assert au_index(text) == 8 and parse_au(text) == (8, (0, 1))


def test_sides_and_short_names():
    assert parse_au("AU12L") == (8, (0,)) and parse_au("au12r") == (8, (1,)) and au_index("AU4") == 2


@pytest.mark.parametrize("name", ["AU13", "AU", "", "smile", "AU28", "AU123", None, 12, "L"])
def test_unknown_names_say_what_is_known(name):
    for read in (au_index, parse_au):
        with pytest.raises(ValueError, match="AU01, AU02"):
            read(name)


def test_the_close_match_is_named():
    with pytest.raises(ValueError, match="did you mean 'AU12'"):
        au_index("UA12")
    with pytest.raises(ValueError, match="parse_au"):
        au_index("AU12L")
    with pytest.raises(ValueError, match="happiness"):
        emotion_vector("happyness")


def test_vector_by_hand():
    v = au_vector({"AU12L": 0.8, "AU12": 0.5, "AU04": 0.25})
    assert v.shape == (17, 2) and v.dtype == torch.float32
    assert v[8].tolist() == pytest.approx([0.8, 0.5]) and v[2].tolist() == [0.25, 0.25]
    assert v.count_nonzero() == 4
    assert au_vector({"AU12": -1.25}, relative=True)[8, 0] == -1.25


@pytest.mark.parametrize(
    "values, relative, hint",
    [
        ({"AU12": 3.5}, False, "divide by 5"), ({"AU12": -0.5}, False, "relative=True"),
        ({"AU12": math.nan}, False, "drop"), ({"AU12": math.inf}, True, "outside"), ({"AU12": 1.26}, True, "outside"),
        ({"AU4": 0.1, "AU04": 0.2}, False, "twice"),
    ],
)
def test_vector_refuses(values, relative, hint):
    with pytest.raises(ValueError, match=hint) as error:
        au_vector(values, relative)
    assert "AU" in str(error.value)


@few
@given(vectors)
def test_dict_is_the_inverse_of_vector(v):
    assert torch.allclose(au_vector(au_dict(v, digits=9)), v, atol=1e-8)


@few
@given(vectors, vectors)
def test_relative_brings_source_to_target(source, target):
    back, clipped = apply_relative(source, relative(source, target))
    assert torch.allclose(back, target, atol=1e-6) and not clipped.any()
    assert torch.equal(relative(source, source), torch.zeros_like(source))


@few
@given(vectors, vectors, st.floats(0, MAX_INTENSITY))
def test_clip_stays_in_range_and_reports(source, wish, intensity):
    rel = 2 * wish - 1
    target, clipped = apply_relative(source, rel, intensity)
    asked = source + intensity * rel
    assert target.min() >= 0 and target.max() <= 1
    assert torch.equal(clipped, (asked - target).abs() > 1e-6)
    assert len(clip_report(source, rel, intensity)) == clipped.sum()


def test_clip_by_hand():
    target, clipped = apply_relative(au_vector({"AU12": 0.5}), au_vector({"AU12L": 0.8, "AU04": -0.1}, relative=True))
    assert target[8].tolist() == [1.0, 0.5] and clipped.nonzero().tolist() == [[2, 0], [2, 1], [8, 0]]


def test_sides_and_batches():
    flat = torch.rand(3, 5, N_AUS)
    assert as_sides(flat).shape == (3, 5, N_AUS, 2) and torch.allclose(merge_sides(as_sides(flat)), flat)
    assert relative(flat, as_sides(flat)).abs().max() == 0
    as_sides(flat)[0] += 1  # both columns are memory of their own
    for shape in ((3, 16), (17, 3), (), (2, 17, 1), (0,)):
        with pytest.raises(ValueError, match="N×17×2"):
            as_sides(torch.zeros(shape))
    assert as_sides(torch.zeros(0, 17)).shape == (0, 17, 2)


def test_prototypes():
    facs = {"neutral": (), "happiness": (6, 12), "sadness": (1, 4, 15), "surprise": (1, 2, 5, 26),
            "fear": (1, 2, 4, 5, 7, 20, 26), "disgust": (9, 15), "anger": (4, 5, 7, 23), "contempt": (12, 14)}
    for name, numbers in facs.items():
        v = emotion_vector(name, MAX_INTENSITY)
        assert sorted(set(v.nonzero()[:, 0].tolist())) == [au_index(f"AU{k}") for k in numbers] and v.max() <= 1
    contempt = emotion_vector("contempt")
    assert contempt[:, 0].abs().sum() == 0 and contempt[:, 1].count_nonzero() == 2
    assert torch.allclose(emotion_vector("anger", 0.5), emotion_vector("anger") / 2)
    assert emotion_vector("surprise")[au_index("AU05"), 0] == pytest.approx(0.4)
    for bad in (-0.1, 1.3, math.nan):
        with pytest.raises(ValueError, match="intensity"):
            emotion_vector("anger", bad)
    assert list(EMOTIONS)[:3] == ["neutral", "happiness", "sadness"]  # AffectNet's numbering


@few
@given(st.integers(0, 200), st.integers(0, 2**31), st.floats(0, 0.9))
def test_samples_are_valid_and_reproducible(n, seed, asymmetry):
    state = torch.get_rng_state()
    aus = sample_aus(n, seed, asymmetry)
    assert torch.equal(state, torch.get_rng_state())
    assert aus.shape == (n, N_AUS, 2) and (n == 0 or check_aus(aus) is not None)
    assert torch.equal(aus, sample_aus(n, seed, asymmetry))
    assert torch.equal(aus, sample_aus(n + 37, seed, asymmetry)[:n])


def test_samples_are_plausible():
    aus = sample_aus(8000, seed=2)
    active = merge_sides(aus) > 0
    share = active.float().mean(0)
    assert 2 < active.sum(1).float().mean() < 4.5 and share.min() > 0.06 and share.max() < 0.5
    assert 0.08 < (~active.any(1)).float().mean() < 0.25
    def together(a, b):
        return (active[:, au_index(a)] & active[:, au_index(b)]).float().mean() / (
            share[au_index(a)] * share[au_index(b)]
        )
    assert together("AU06", "AU12") > 2 and together("AU01", "AU02") > 1.5 and together("AU26", "AU25") > 1.5
    assert together("AU05", "AU45") < 0.3 and together("AU12", "AU15") < 0.3
    assert aus.amax((0, 2)).min() > 0.8  # every AU is seen strong
    assert (sample_aus(50, 1) - sample_aus(50, 2)).abs().sum() > 1


def test_asymmetry():
    def uneven(a):
        aus = sample_aus(4000, 3, a)[:, [au_index(n) for n in ("AU01", "AU04", "AU17")]]
        on = aus.amax(-1) > 0.3
        return ((aus[..., 0] - aus[..., 1]).abs() / aus.amax(-1).clamp(min=1e-6))[on].mean().item()
    assert (
        uneven(0) == 0 and uneven(0.15) == pytest.approx(0.15, abs=0.03) and uneven(0.5) == pytest.approx(0.5, abs=0.05)
    )
    jaw = sample_aus(2000, 3, 0.5)[:, au_index("AU26")]
    assert torch.equal(jaw[:, 0], jaw[:, 1])
    for bad in (-0.1, 1.0):
        with pytest.raises(ValueError, match="asymmetry"):
            sample_aus(3, 0, bad)
    with pytest.raises(ValueError, match="n >= 0"):
        sample_aus(-1, 0)


def test_check_names_the_sample_and_the_remedy():
    good = sample_aus(4, 0)
    assert torch.equal(check_aus(good), good) and check_aus(good[..., 0].double()).dtype == torch.float32
    assert check_aus(-good, relative=True).min() <= 0 and check_aus(torch.zeros(17)).shape == (17, 2)
    bad = good.clone()
    bad[2, au_index("AU26"), 1] = math.nan
    with pytest.raises(ValueError, match="sample 2, AU26 right is nan.*drop"):
        check_aus(bad)
    bad[2, au_index("AU26"), 1] = 4.2
    with pytest.raises(ValueError, match="labels: sample 2, AU26 right is 4.2.*divide by 5"):
        check_aus(bad, name="labels")
    bad[2, au_index("AU26"), 1] = 1.5
    with pytest.raises(ValueError, match="-1.25 to 1.25"):
        check_aus(bad, relative=True)
    with pytest.raises(TypeError, match="divide OpenFace's 0-5 by 5"):
        check_aus(torch.zeros(2, 17, dtype=torch.long))
    with pytest.raises(TypeError, match="au_vector for a dict"):
        check_aus({"AU12": 1})
    with pytest.raises(ValueError, match="N×17"):
        check_aus(torch.zeros(2, 18))


def test_gradients_pass():
    source = torch.rand(2, N_AUS, 2, requires_grad=True)
    target, _ = apply_relative(source, torch.zeros(2, N_AUS))
    target.sum().backward()
    assert torch.equal(source.grad, torch.ones_like(source))
