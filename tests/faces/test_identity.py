"""Lesson 02a: people as rows of numbers."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expr_course.action_units import au_vector, sample_aus
from expr_course.faces import LABELS, render
from expr_course.faces.identity import (GRID, HABITS, LONG_HAIR, MIRRORED, NAMES, RANGES, TEXTURES, Identity,
                                        groups, mirror, repeat, replace, sample_identities)

seeds = st.integers(0, 2**31 - 1)
PARTS = ("values", "textures", "keys")


def same(one: Identity, other: Identity) -> bool:
    return all(torch.equal(getattr(one, part), getattr(other, part)) for part in PARTS)


@given(seeds, st.integers(1, 6), st.integers(1, 12))
def test_same_seed_same_people_and_more_keep_the_first(seed, few, many):
    first, more = sample_identities(few, seed), sample_identities(few + many, seed)
    assert same(first, sample_identities(few, seed)) and same(first, more[:few])


@given(seeds)
def test_shapes_types_ranges_and_keys(seed):
    people = sample_identities(3, seed)
    assert people.values.shape == (3, len(NAMES)) and people.textures.shape == (3, TEXTURES, GRID, GRID)
    assert people.values.dtype == people.textures.dtype == torch.float32 and people.keys.dtype == torch.long
    assert people.keys.tolist() == [[seed, 0], [seed, 1], [seed, 2]]
    assert 0 <= people.textures.min() and people.textures.max() <= 1
    for name, (low, high) in RANGES.items():
        assert low - 1e-6 <= people[name].min() and people[name].max() <= high + 1e-6


@given(seeds, seeds)
def test_other_seeds_other_people(one, other):
    if one != other:
        a, b = sample_identities(2, one), sample_identities(2, other)
        assert not torch.equal(a.values, b.values) and not torch.equal(a.textures, b.textures)


def test_neighbouring_seeds_share_no_stream():
    streams = [tensor.flatten()[:50] for seed in range(6) for tensor in (
        sample_identities(1, seed).textures, (sample_identities(1, seed).values - low_of()) / width_of())]
    for i, one in enumerate(streams):
        assert not any((one - other).abs().max() < 1e-3 for other in streams[i + 1:])


def low_of():
    return torch.tensor([low for low, _ in RANGES.values()])


def width_of():
    return torch.tensor([high - low for low, high in RANGES.values()])


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    sample_identities(5, seed=1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("arguments", [(0,), (-3,), (2, -1), (2, 2**31)])
def test_impossible_samples_are_refused(arguments):
    with pytest.raises(ValueError, match="n >= 1|outside"):
        sample_identities(*arguments)


def test_draws_fill_their_ranges_evenly():
    share = (sample_identities(4000, seed=2).values - low_of()) / width_of()
    rarer = {name for names in HABITS.values() for name in names}
    share = share[:, [name not in rarer for name in NAMES]]
    assert (share.mean(0) - 0.5).abs().max() < 0.03
    assert share.min() < 0.01 and share.max() > 0.99
    correlation = torch.corrcoef(share.T).fill_diagonal_(0)
    assert correlation.abs().max() < 0.1, "the numbers are drawn independently"


def test_few_beards_beside_long_hair_and_few_fringes_on_short():
    people = sample_identities(4000, seed=2)
    long = people["hair_style"] > LONG_HAIR
    def share(name, who, least):
        return (people[name][who] > least).float().mean().item()
    for name in ("beard", "stubble"):
        assert 0 < share(name, long, 0) < 0.4 * share(name, ~long, 0)
    assert 0 < share("fringe", ~long, 0.35) < 0.5 * share("fringe", long, 0.35)


def test_picking():
    people = sample_identities(5, seed=4)
    assert len(people) == 5 and len(people[2]) == len(people[-1]) == 1
    assert same(people[1:3], people[torch.tensor([1, 2])]) and same(people[-1], people[4])
    assert torch.equal(people["age"], people.values[:, NAMES.index("age")])
    older = people[people["age"] > 0.5]
    assert len(older) == int((people["age"] > 0.5).sum())
    with pytest.raises(IndexError):
        people[5]
    with pytest.raises(ValueError, match="'wings'.*face_width"):
        people["wings"]
    assert same(people.to("cpu"), people)


def test_replace():
    people = sample_identities(3, seed=5)
    before = people.values.clone()
    older = replace(people, age=1.0, yaw=torch.tensor([-1.0, 0.0, 1.0]))
    assert torch.equal(people.values, before), "the originals stay"
    assert older["age"].tolist() == [1, 1, 1] and older["yaw"].tolist() == [-1, 0, 1]
    others = [i for i, name in enumerate(NAMES) if name not in ("age", "yaw")]
    assert torch.equal(older.values[:, others], before[:, others]) and torch.equal(older.textures, people.textures)
    with pytest.raises(ValueError, match="unknown number 'tail'"):
        replace(people, tail=1.0)


def test_repeat():
    people = sample_identities(3, seed=6)
    three = repeat(people[1], 3)
    assert len(three) == 3 and all(same(three[k], people[1]) for k in range(3))
    with pytest.raises(ValueError, match="one person and got 3"):
        repeat(people, 2)


@given(seeds)
def test_twice_in_the_mirror_is_oneself(seed):
    people = sample_identities(2, seed)
    there = mirror(people)
    assert same(mirror(there), people) and not torch.equal(there.values, people.values)
    unchanged = [i for i, name in enumerate(NAMES) if name not in MIRRORED]
    assert torch.equal(there.values[:, unchanged], people.values[:, unchanged])


@given(st.integers(0, 2**31 - 1), st.sampled_from((32, 47, 64)))
@settings(max_examples=3)
def test_mirrored_people_make_mirrored_pictures(seed, size):
    people, aus = sample_identities(3, seed), sample_aus(3, seed, asymmetry=0.5)
    seen, flipped = render(mirror(people), aus.flip(-1), size), render(people, aus, size)
    off = (seen.image - flipped.image.flip(-1)).abs()
    assert off.mean() < 1e-4 and (off > 0.01).float().mean() < 1e-3
    swap = torch.arange(len(LABELS))
    for left, right in (("l_eye", "r_eye"), ("l_brow", "r_brow"), ("l_ear", "r_ear")):
        i, j = LABELS.index(left), LABELS.index(right)
        swap[i], swap[j] = j, i
    assert (seen.labels != swap[flipped.labels.flip(-1)]).float().mean() < 1e-3


def test_naive_mirrors_fail():
    """Swapping the AUs alone, or mirroring the person alone, does not give the mirrored picture."""
    people, aus = sample_identities(1, seed=5), au_vector({"AU12L": 1.0})[None]
    flipped = render(people, aus, 48).image.flip(-1)
    assert (render(people, aus.flip(-1), 48).image - flipped).abs().mean() > 0.01
    assert (render(mirror(people), aus, 48).image - flipped).abs().max() > 0.1


def test_groups():
    people = replace(
        sample_identities(4, seed=7), skin_tone=torch.tensor([0.0, 0.5, 1.0, 0.9]),
        yaw=torch.tensor([0.0, 0.9, -0.9, 0.4]), beard=torch.tensor([-1.0, 0.1, 0.5, 1.0]),
        glasses=torch.tensor([0.9, 0.0, -3.0, 0.5]), age=torch.tensor([0.0, 0.5, 0.8, 1.0]),
    )
    found = groups(people)
    assert found == {
        "skin tone": ["light", "medium", "dark", "dark"], "age": ["young", "middle", "old", "old"],
        "beard": ["no beard", "no beard", "beard", "beard"], "pose": ["frontal", "turned", "turned", "frontal"],
        "glasses": ["glasses", "no glasses", "no glasses", "glasses"],
    }


def test_every_group_occurs():
    found = groups(sample_identities(300, seed=8))
    for kind, names in found.items():
        assert min(names.count(name) for name in set(names)) > 15, kind
