"""What the renderer promises: shapes, determinism, neutrality, monotony, mirrors, locality, gradients, agreement,
refusals (lesson 02n)."""
import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expr_course import faces
from expr_course.action_units import AUS, EMOTIONS, au_vector, emotion_vector, sample_aus
from expr_course.faces import LABELS, FaceSample, mirror, reach, render, repeat, replace, sample_identities

L = {name: number for number, name in enumerate(LABELS)}
BARE = dict(glasses=-1.0, hat=-1.0, beard=-1.0, moustache=-1.0, fringe=-1.0, hair_length=0.0, hair_style=0.3)
FRONTAL = dict(yaw=0.0, pitch=0.0, roll=0.0)


def bare(n=8, seed=0, **changes):
    """People with nothing in front of their faces."""
    return replace(sample_identities(n, seed=seed), **BARE | changes)


def states(*names, value=1.0):
    return torch.stack([au_vector({name: value}) for name in names])


def checksum(sample):
    parts = (sample.image, sample.labels, sample.landmarks)
    return hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts)).hexdigest()


# ---- the call ----

@pytest.mark.parametrize("size", [32, 33, 64, 100, 256])
def test_shapes_and_ranges(size):
    sample = render(sample_identities(2, seed=0), sample_aus(2, seed=0), size)
    assert isinstance(sample, FaceSample)
    assert sample.image.shape == (2, 3, size, size) and sample.image.dtype == torch.float32
    assert sample.labels.shape == (2, size, size) and sample.labels.dtype == torch.int64
    assert sample.landmarks.shape == (2, 68, 2) and sample.aus.shape == (2, 17, 2) and len(sample.identity) == 2
    assert (
        -1 <= sample.image.min()
        and sample.image.max() <= 1
        and sample.image.isfinite().all()
        and sample.landmarks.isfinite().all()
    )
    assert 0 <= sample.labels.min() and sample.labels.max() <= 18
    assert not sample.image.requires_grad


@settings(max_examples=12)
@given(st.integers(0, 10 ** 9), st.integers(32, 96))
def test_anybody_at_any_size(seed, size):
    aus = torch.rand(2, 17, 2, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    sample = render(sample_identities(2, seed=seed), aus, size)
    assert sample.image.isfinite().all() and sample.landmarks.isfinite().all()
    assert (sample.labels == L["skin"]).flatten(1).sum(1).min() > 0.05 * size * size, "there is a face"


def test_both_sides_alike():
    people, aus = sample_identities(3, seed=0), torch.rand(3, 17)
    one, two = render(people, aus, 48), render(people, aus[..., None].expand(-1, -1, 2), 48)
    assert checksum(one) == checksum(two) and torch.equal(one.aus, two.aus)
    assert torch.equal(render(people, aus.double(), 48).image, one.image)


def test_inputs_are_left_alone():
    people, aus = sample_identities(3, seed=0), torch.rand(3, 17, 2)
    values, textures, before = people.values.clone(), people.textures.clone(), aus.clone()
    render(people, aus, 48)
    assert torch.equal(values, people.values) and torch.equal(textures, people.textures) and torch.equal(before, aus)


@pytest.mark.parametrize("aus, error, says", [
    (torch.zeros(3, 17), ValueError, "2 people but AUs of shape 3×17"), (torch.zeros(17), ValueError, r"aus\[None\]"),
    (torch.zeros(2, 16), ValueError, "17"), (torch.zeros(2, 2, 17), ValueError, "2 people"),
    (torch.full((2, 17), 1.5), ValueError, "divide by 5"), (torch.full((2, 17), -0.1), ValueError, "AU01"),
    (torch.full((2, 17), float("nan")), ValueError, "nan"), (torch.full((2, 17, 2), float("inf")), ValueError, "inf"),
    (torch.zeros(2, 17, dtype=torch.long), TypeError, "floating point"), ([[0.0] * 17] * 2, TypeError, "list"),
])
def test_bad_aus(aus, error, says):
    with pytest.raises(error, match=says):
        render(sample_identities(2, seed=0), aus, 64)


@pytest.mark.parametrize("size", [31, 257, 0, -64, 64.5, float("nan"), True])
def test_bad_sizes(size):
    with pytest.raises(ValueError, match="32 to 256"):
        render(sample_identities(1, seed=0), torch.zeros(1, 17), size)


def test_bad_people():
    with pytest.raises(TypeError, match="sample_identities"):
        render(torch.zeros(2, 79), torch.zeros(2, 17), 64)
    with pytest.raises(ValueError, match="0 people"):
        render(sample_identities(2, seed=0)[0:0], torch.zeros(0, 17), 64)


# ---- same numbers, same bytes ----

def test_version_and_pixels_belong_together():
    """Coarse numbers of four small faces: whoever changes the drawing raises VERSION (and these), or undoes the
    change."""
    means = render(sample_identities(4, seed=0), sample_aus(4, seed=0), 32).image.mean((2, 3)).flatten()
    kept = [-0.291, -0.468, -0.578, -0.202, -0.405, -0.579, 0.243, 0.001, -0.084, 0.056, -0.14, -0.244]
    assert faces.VERSION == "1.0" and (means - torch.tensor(kept)).abs().max() < 1.5e-3


def test_deterministic():
    def draw():
        return checksum(render(sample_identities(5, seed=3), sample_aus(5, seed=4), 64))
    torch.manual_seed(0)
    first = draw()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert draw() == first
    assert torch.equal(torch.get_rng_state(), state), "the global random state is neither read nor changed"
    assert checksum(render(sample_identities(5, seed=4), sample_aus(5, seed=4), 64)) != first


def test_company_does_not_matter(monkeypatch):
    """Alone, in a batch, or in a batch that is drawn in pieces: the same."""
    people, aus = sample_identities(9, seed=3), sample_aus(9, seed=3)
    whole = render(people, aus, 64)
    monkeypatch.setattr(faces, "PIXELS", 2 * 64 ** 2)
    pieces = render(people, aus, 64)
    alone = render(people[4], aus[4:5], 64)
    assert (whole.image - pieces.image).abs().max() < 1e-5
    assert torch.equal(whole.labels, pieces.labels) and torch.equal(whole.landmarks, pieces.landmarks)
    assert (whole.image[4:5] - alone.image).abs().max() < 1e-5 and torch.equal(whole.labels[4:5], alone.labels)
    assert (whole.landmarks[4:5] - alone.landmarks).abs().max() < 1e-4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees():
    people, aus = sample_identities(9, seed=3), sample_aus(9, seed=3)
    here, there = render(people, aus, 64), render(people.to("cuda"), aus, 64)
    assert there.image.device.type == "cuda" and (there.image.cpu() - here.image).abs().max() < 0.05
    assert (there.labels.cpu() != here.labels).float().mean() < 1e-3 and (
        there.landmarks.cpu() - here.landmarks
    ).abs().max() < 1e-2


def test_sizes_agree():
    people, aus = sample_identities(6, seed=9), sample_aus(6, seed=9)
    small, large = render(people, aus, 64), render(people, aus, 128)
    halved = torch.nn.functional.avg_pool2d(large.image, 2)
    assert (halved - small.image).abs().mean() < 0.06
    assert ((large.landmarks + 0.5) / 2 - 0.5 - small.landmarks).abs().max() < 1e-3
    assert (large.labels[:, ::2, ::2] == small.labels).float().mean() > 0.93


# ---- neutral, local, monotone, visible ----

@pytest.mark.parametrize("name", AUS)
def test_stays_in_its_reach(name, cases):
    """Outside its reach an AU changes nothing, whatever the other AUs do: not one pixel, not one label."""
    for seed in range(cases(2, 40)):
        people = sample_identities(6, seed=seed)
        without = torch.rand(6, 17, 2, generator=torch.Generator().manual_seed(seed)) * (seed % 2)
        with_ = without.clone()
        without[:, AUS.index(name)], with_[:, AUS.index(name)] = 0.0, 1.0
        before, after = render(people, without, 64), render(people, with_, 64)
        there = reach(people, name, 64)
        assert there.shape == (6, 64, 64) and there.dtype == torch.bool
        changed = (before.image != after.image).any(1)
        assert not (changed & ~there).any() and not ((before.labels != after.labels) & ~there).any(), (name, seed)
        assert changed[there].any()


def test_reach_refuses():
    with pytest.raises(ValueError, match="AU13"):
        reach(sample_identities(1, seed=0), "AU13")


@pytest.mark.parametrize("side, sign", [("L", 1), ("R", -1)])
def test_sides(side, sign):
    """An AU on the person's left changes only the right of the picture, but for the seam in the middle; and the other
    way round."""
    people = sample_identities(1, seed=5)
    people = replace(people, **FRONTAL, shift_x=0.0)
    aus = torch.stack([au_vector({name + side: 1.0}) for name in AUS if name != "AU26"])
    neutral, moved = render(people, torch.zeros(1, 17), 96), render(repeat(people, len(aus)), aus, 96)
    columns = sign * (torch.arange(96) + 0.5 - 48)
    changed = (moved.image != neutral.image).any(1).flatten(0, 1).any(0)
    assert not changed[columns < -7].any() and changed[columns > 7].any()


@pytest.mark.parametrize("name", AUS)
def test_more_is_more(name):
    """The picture moves away from neutral at every step, and in small steps."""
    steps = torch.linspace(0, 1, 9)
    for person in (bare(3, seed=1)[1], sample_identities(3, seed=2)[0]):
        pictures = render(repeat(person, 9), steps[:, None, None] * au_vector({name: 1.0}), 64).image
        far = (pictures - pictures[0]).abs().mean((1, 2, 3))
        assert (far.diff() > 0).all(), far
        assert far.diff().max() < 0.4 * far[-1], "no jump"


def test_zero_is_neutral():
    people = sample_identities(4, seed=6)
    assert checksum(render(people, torch.zeros(4, 17), 64)) == checksum(render(people, torch.zeros(4, 17, 2), 64))
    almost = render(people, torch.full((4, 17), 1e-4), 64).image
    assert (almost - render(people, torch.zeros(4, 17), 64).image).abs().max() < 0.01, "no jump at zero"


@pytest.mark.parametrize("size, pixels", [(64, 15), (128, 60)])
def test_each_is_visible(size, pixels):
    """On bare faces each AU changes this many pixels by 8 steps of 255 or more, on average and on nearly everybody."""
    people = bare(8, seed=3)
    neutral = render(people, torch.zeros(8, 17), size).image
    for name in AUS:
        change = (render(people, states(name).expand(8, -1, -1), size).image - neutral).abs().amax(1) * 127.5
        counts = (change >= 8).sum((1, 2)).sort().values
        assert counts[1] >= pixels / 2 and counts.float().mean() >= pixels, (name, counts.tolist())


def test_no_two_look_the_same():
    """Two AUs make more difference to each other than a fifth of what the weaker makes alone."""
    person = bare(4, seed=3)[2]
    pictures = render(repeat(person, 18), torch.cat([torch.zeros(1, 17, 2), states(*AUS)]), 128).image
    change = (pictures[1:] - pictures[0]).flatten(1)
    alike = torch.nn.functional.cosine_similarity(change[:, None], change[None], dim=-1) - torch.eye(17)
    assert alike.max() < 0.9, alike.max()


# ---- mirrors ----

def test_mirror():
    people, aus = sample_identities(6, seed=8), sample_aus(6, seed=8, asymmetry=0.5)
    there, back = render(people, aus, 64), render(mirror(people), aus.flip(-1), 64)
    assert (there.image - back.image.flip(-1)).abs().max() < 1e-3
    swap = torch.arange(19)
    for pair in (("l_eye", "r_eye"), ("l_brow", "r_brow"), ("l_ear", "r_ear")):
        a, b = (L[name] for name in pair)
        swap[a], swap[b] = b, a
    assert (swap[back.labels.flip(-1)] != there.labels).float().mean() < 2e-4
    index = MIRRORED_POINTS
    mirrored = back.landmarks[:, index] * torch.tensor([-1.0, 1.0]) + torch.tensor([63.0, 0.0])
    assert (mirrored - there.landmarks).abs().max() < 1e-3


MIRRORED_POINTS = (
    list(range(16, -1, -1))
    + list(range(26, 16, -1))
    + [27, 28, 29, 30]
    + [35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46]
    + [39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55]
    + [64, 63, 62, 61, 60, 67, 66, 65]
)


# ---- gradients ----

@pytest.mark.parametrize("start", [0.0, 0.3, 1.0])
def test_gradients_are_finite(start):
    aus = torch.full((3, 17, 2), start, requires_grad=True)
    sample = render(sample_identities(3, seed=1), aus, 48)
    (sample.image.square().sum() + sample.landmarks.sum()).backward()
    assert aus.grad.isfinite().all() and not sample.labels.requires_grad


def test_gradients_are_right():
    """Autograd agrees with the difference of two pictures, for every AU. (Kinks and clips allow a few percent.)"""
    person, g = bare(4, seed=3, **FRONTAL)[1], torch.Generator().manual_seed(0)
    weights = torch.nn.functional.interpolate(torch.randn(1, 3, 12, 12, generator=g), 96, mode="bicubic")
    aus = torch.full((1, 17, 2), 0.3, requires_grad=True)
    (render(person, aus, 96).image * weights).sum().backward()
    step = 0.01
    way = step * states(*AUS)
    both = render(repeat(person, 34), torch.cat([aus.detach() + way, aus.detach() - way]), 96).image
    slopes = ((both[:17] - both[17:]) * weights).sum((1, 2, 3)) / (2 * step)
    ours = aus.grad[0].sum(-1)
    assert torch.nn.functional.cosine_similarity(slopes, ours, dim=0) > 0.99
    assert (slopes - ours).abs().max() < 0.15 * slopes.abs().max()
    assert (ours.abs() > 1e-3).all(), "every AU has a slope"


def test_an_expression_can_be_read_off():
    person, secret = bare(4, seed=3)[0], au_vector({"AU12": 0.8, "AU01L": 0.7})
    target = render(person, secret[None], 48).image
    guess = torch.full((1, 17, 2), 0.1, requires_grad=True)
    optimizer = torch.optim.Adam([guess], lr=0.1)
    for _ in range(25):
        loss = (render(person, guess, 48).image - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            guess.clamp_(0, 1)
    assert (guess.detach()[0] - secret).abs().mean() < 0.4 * secret.abs().mean()


# ---- picture, labels and landmarks agree ----

def test_all_classes_occur():
    sample = render(sample_identities(96, seed=0), sample_aus(96, seed=0), 64)
    people = torch.stack([(sample.labels == number).flatten(1).any(1).sum() for number in range(19)])
    assert (people >= 3).all(), dict(zip(LABELS, people.tolist()))


def test_left_is_the_persons_left():
    sample = render(bare(8, seed=2, shift_x=0.0), torch.zeros(8, 17), 96)
    for part in ("eye", "brow"):
        where = [
            [(labels == L[f"{side}_{part}"]).nonzero()[:, 1].float().mean() for labels in sample.labels]
            for side in "lr"
        ]
        assert all(left > right for left, right in zip(*where))


def nearest(points, mask):
    """Distance in pixels from each point to the nearest pixel of a mask."""
    rows, columns = mask.nonzero().unbind(1)
    return torch.cdist(points, torch.stack([columns, rows], 1).float()).amin(1)


@pytest.mark.parametrize(
    "state",
    [
        {}, {"AU12": 1.0}, {"AU12L": 1.0}, {"AU25": 1.0, "AU26": 1.0}, {"AU15": 1.0, "AU17": 1.0},
        {"AU20": 1.0, "AU23": 0.5}, {"AU01": 1.0, "AU02": 1.0, "AU05": 1.0}, {"AU04": 1.0, "AU07": 1.0},
    ],
    ids=lambda s: "+".join(s) or "neutral",
)
def test_landmarks_lie_on_labels(state):
    people = bare(6, seed=4)
    sample = render(people, au_vector(state).expand(6, -1, -1), 128)
    for points, labels in zip(sample.landmarks, sample.labels):
        lips = (labels == L["u_lip"]) | (labels == L["l_lip"]) | (labels == L["mouth"])
        assert nearest(points[48:], lips).max() < 4 and nearest(points[48:], lips).mean() < 1.2
        for part, low, label in (("right eye", 36, "r_eye"), ("left eye", 42, "l_eye")):
            assert nearest(points[low:low + 6], labels == L[label]).max() < 3.0, part
        assert (
            nearest(points[17:22], labels == L["r_brow"]).max() < 4
            and nearest(points[22:27], labels == L["l_brow"]).max() < 4
        )
        assert nearest(points[31:36], labels == L["nose"]).max() < 3


def test_where_labels_change_the_picture_changes():
    people = bare(8, seed=4)
    a, b = render(people, torch.zeros(8, 17), 64), render(people, sample_aus(8, seed=4), 64)
    moved = a.labels != b.labels
    assert moved.sum() > 100
    assert ((a.image - b.image).abs().amax(1)[moved] > 0).float().mean() > 0.97


# ---- combinations and emotions ----

def count(sample, name):
    return (sample.labels == L[name]).sum((1, 2)).float().mean().item()


def test_combinations():
    people = bare(8, seed=5)
    def draw(**aus):
        return render(people, au_vector(aus).expand(8, -1, -1), 128)
    neutral, parted, open_ = draw(), draw(AU25=1.0), draw(AU25=1.0, AU26=1.0)
    assert count(neutral, "mouth") == 0 and count(open_, "mouth") > 1.8 * count(parted, "mouth") > 50, (
        "26 opens what 25 parts"
    )
    smile = draw(AU12=1.0, AU25=1.0)
    inside = smile.labels == L["mouth"]
    white = (smile.image.amin(1) > 0.1) & inside
    assert white.sum() > 0.2 * inside.sum(), "12 + 25 shows teeth"
    half, shut = draw(AU45=0.5), draw(AU45=1.0)
    assert (
        0.2 < count(half, "l_eye") / count(neutral, "l_eye") < 0.8 and count(shut, "l_eye") == count(shut, "r_eye") == 0
    ), "45 closes the lid"
    assert count(draw(AU45L=1.0), "r_eye") == count(neutral, "r_eye") > 0 and count(draw(AU45L=1.0), "l_eye") == 0, (
        "a wink"
    )
    eyes = reach(people, "AU06", 128)[:, None] & ~reach(people, "AU12", 128)[:, None]
    assert ((draw(AU06=1.0, AU12=1.0).image - draw(AU12=1.0).image).abs() * eyes).sum() > 0, (
        "a Duchenne smile is in the eyes, too"
    )
    brow = (17, 18, 19, 20, 21, 22, 23, 24, 25, 26)
    raise_, sad = (
        draw(**aus).landmarks[:, brow] - neutral.landmarks[:, brow]
        for aus in (dict(AU01=1.0), dict(AU01=1.0, AU04=1.0))
    )
    inner, outer = [4, 5], [0, 9]
    assert (raise_[:, inner, 1] < 0).all() and (sad[:, inner, 1].mean(1) < sad[:, outer, 1].mean(1)).all(), (
        "1 + 4: the inner ends are higher than the outer"
    )
    assert (sad[:, 4, 0] > 0).all() and (sad[:, 5, 0] < 0).all(), "1 + 4: the brows come together"


def test_directions():
    """What FACS says about the motion of points, on neutral frontal faces. Picture: y grows downwards, the person's
    right is on the left."""
    people = bare(6, seed=5, **FRONTAL)
    rest = render(people, torch.zeros(6, 17), 128).landmarks
    def moved(name, point):
        return (render(people, states(name).expand(6, -1, -1), 128).landmarks - rest)[:, point]
    for name, point, axis, sign in (
        ("AU01", 21, 1, -1), ("AU02", 18, 1, -1), ("AU04", 21, 1, 1), ("AU05", 37, 1, -1), ("AU06", 41, 1, -1),
        ("AU07", 41, 1, -1), ("AU09", 31, 1, -1), ("AU10", 51, 1, -1), ("AU12", 48, 1, -1), ("AU12", 48, 0, -1),
        ("AU14", 48, 0, 1), ("AU15", 48, 1, 1), ("AU17", 57, 1, -1), ("AU20", 48, 0, -1), ("AU23", 48, 0, 1),
        ("AU25", 66, 1, 1), ("AU26", 8, 1, 1), ("AU45", 37, 1, 1),
    ):
        assert (moved(name, point)[:, axis] * sign > 0.1).all(), (name, point, moved(name, point))


def test_contempt_has_one_side():
    person = replace(bare(4, seed=5, shift_x=0.0)[1], **FRONTAL)
    neutral, contempt = (render(person, emotion_vector(name)[None], 96).image for name in ("neutral", "contempt"))
    change = (contempt - neutral).abs().sum((0, 1, 2))
    assert change[:48].sum() > 20 * change[52:].sum(), "contempt is on the person's right: the left of the picture"
    for name in EMOTIONS:
        if name != "neutral":
            assert (render(person, emotion_vector(name)[None], 96).image - neutral).abs().max() > 0.1


# ---- the counterfactual ----

def test_counterfactual():
    """The same person with other AUs: everything that no AU reaches is the same, bit for bit."""
    people, source = sample_identities(6, seed=10), sample_aus(6, seed=10)
    target = source.clone()
    target[:, AUS.index("AU01")] = 1 - target[:, AUS.index("AU01")]
    x, truth = render(people, source, 96), render(people, target, 96)
    there = reach(people, "AU01", 96)
    assert torch.equal(x.image.movedim(1, -1)[~there], truth.image.movedim(1, -1)[~there]) and not torch.equal(
        x.image, truth.image
    )


def test_version_and_names():
    assert isinstance(faces.VERSION, str) and faces.FRAME["eyes"] > 0 and len(LABELS) == 19
    assert {
        "FRAME", "LABELS", "VERSION", "Identity", "sample_identities", "render", "reach", "groups", "mirror", "repeat",
        "replace",
    } <= set(faces.__all__)
