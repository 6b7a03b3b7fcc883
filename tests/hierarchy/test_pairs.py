"Exact pairs: mirrored, moved and spoilt as one, and batch k the same whoever asks."
import pytest
import torch

from expr_course.action_units import sample_aus
from expr_course.faces import mirror, render, sample_identities
from expr_course.hierarchy import pairs as P


@pytest.fixture(scope="module")
def faces():
    with torch.no_grad():
        return render(sample_identities(3, 5), sample_aus(3, 5))


def batch_of(sample, goal):
    return dict(image=sample.image, partner=goal.image, labels=sample.labels, landmarks=sample.landmarks,
                partner_landmarks=goal.landmarks, aus=sample.aus, partner_aus=goal.aus)


@torch.no_grad()
def test_mirrored_pair_is_the_mirrored_persons_pair():
    who, source, target = sample_identities(4, 9), sample_aus(4, 9), sample_aus(4, 10)
    batch = batch_of(render(who, source), render(who, target))
    there = P.mirror_pairs(batch, torch.tensor([True, True, False, True]))
    other = batch_of(render(mirror(who), source.flip(-1)), render(mirror(who), target.flip(-1)))
    assert torch.equal(there["image"][2], batch["image"][2]) and torch.equal(there["aus"][2], batch["aus"][2])
    for k in (0, 1, 3):
        assert torch.equal(there["aus"][k], other["aus"][k]) and torch.equal(
            there["partner_aus"][k], other["partner_aus"][k]
        )
        inner = slice(30, 100)
        assert (there["labels"][k] == other["labels"][k])[inner, inner].float().mean() > 0.97
        assert (there["landmarks"][k] - other["landmarks"][k]).abs().max() < 0.05
        assert (there["partner_landmarks"][k] - other["partner_landmarks"][k]).abs().max() < 0.05
    back = P.mirror_pairs(there, torch.tensor([True, True, False, True]))
    assert all(torch.allclose(back[name], batch[name], atol=1e-4) for name in batch)


def test_points_and_labels_move_with_the_picture():
    image, labels = torch.full((1, 3, 128, 128), -1.0), torch.zeros(1, 128, 128, dtype=torch.long)
    image[:, :, 39:42, 79:82], labels[:, 39:42, 79:82] = 1, 10
    points = torch.tensor([80.0, 40.0]).expand(1, 68, 2)
    batch = dict(
        image=image, partner=image, labels=labels, landmarks=points, partner_landmarks=points, aus=torch.zeros(1, 17, 2)
    )
    moved = P.move_pairs(batch, torch.tensor([[1.0, -0.5, 1.0, -1.0]]), P.PairSettings(turn=0.3, shift=0.1, zoom=0.2))
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    for mass in (moved["image"][0, 0] + 1, (moved["labels"][0] == 10).float()):
        centre = torch.stack([(x * mass).sum(), (y * mass).sum()]) / mass.sum()
        assert (centre - moved["landmarks"][0, 0]).abs().max() < 0.6
    assert torch.equal(moved["partner_landmarks"], moved["landmarks"])
    assert (moved["landmarks"][0, 0] - points[0, 0]).abs().max() > 5


def test_spoilt_alike(faces):
    image = faces.image[:2, None].expand(-1, 3, -1, -1, -1)
    spoilt = P.spoil_people(image, torch.tensor([False, True]), 3)
    assert (
        torch.equal(spoilt[1, 0], spoilt[1, 2])
        and not torch.equal(spoilt[1], image[1])
        and torch.equal(spoilt[0], image[0])
    )
    assert torch.equal(P.spoil_people(image, torch.tensor([False, False]), 3), image)


def test_single_expressions():
    aus = P.single_expressions(40, 1)
    assert aus.shape == (40, 3, 17, 2) and aus.min() >= 0 and aus.max() <= 1
    changed = (aus != aus[:, :1]).any(-1).sum(-1)
    assert (changed[:, 0] == 0).all() and (changed[:, 1:] == 1).all()
    assert torch.equal(aus, P.single_expressions(40, 1))
    rows = P.single_rows(torch.rand(4000))
    assert (
        0.5 < torch.isin(rows, torch.tensor([4, 5, 6, 9])).float().mean() < 0.72
        and rows.min() == 0
        and rows.max() == 16
    )


def test_shares_of_single_people():
    aus, single = P.pool_expressions(64, 3, 0.5)
    changed = (aus[:, 1] != aus[:, 0]).any(-1).sum(-1)
    assert 20 < single.sum() < 44 and (changed[single] == 1).all() and (changed[~single] > 1).float().mean() > 0.9
    assert not P.pool_expressions(8, 3, 0.0)[1].any() and P.pool_expressions(8, 3, 1.0)[1].all()


TINY = P.PairSettings(size=128, batch_size=2, people=4, keep=8, fresh=2.0, chunk=2)


def test_batches_depend_on_their_number_alone():
    pool, fresh = P.PairPool(TINY, 3), P.PairPool(TINY, 3)
    here = [pool.batch(k) for k in range(6)][5]
    there = fresh.batch(5)
    assert here.keys() == there.keys() and all(torch.equal(here[name], there[name]) for name in here)
    assert pool.chunks(0) == range(2) and pool.chunks(5) == range(3, 7)
    back = pool.batch(1)
    assert torch.equal(back["image"], P.PairPool(TINY, 3).batch(1)["image"])
    assert P.PairPool(TINY, 3, split="val").batch(0)["image"].shape == (2, 3, 128, 128)
    with pytest.raises(ValueError):
        P.PairSettings(people=10, keep=5)


def test_single_people_are_asked_for_one_action_unit():
    settings = P.PairSettings(batch_size=12, people=4, keep=4, chunk=4, fresh=0.0, single=1.0, moved=0.0, spoilt=0.0)
    batch = P.PairPool(settings, 7).batch(0)
    assert ((batch["aus"] != batch["partner_aus"]).any(-1).sum(-1) == 1).all()


def test_what_a_pool_says_of_itself():
    said = P.PairPool(TINY, 3).settings()
    assert said["people"] == 4 and said["seed"] == 3 and said["split"] == "train"
    for wrong in (dict(single=1.5), dict(fresh=-1.0), dict(batch_size=0)):
        with pytest.raises(ValueError):
            P.PairSettings(**wrong)
