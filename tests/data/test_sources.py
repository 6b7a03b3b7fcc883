"""Schema, splits and sources: what is stored comes back, nobody is in two splits, batch k is batch k."""
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from expr_course.data import sources as data
from expr_course.action_units import N_AUS
from expr_course.data.sources import (CROWD, SEEDS, CachedFaces, DrawnFaces, Source, check_same_source, collate, deal,
                                      draw_faces, encode_png, expressions, face_numbers, features, from_bytes, from_png,
                                      make_row, mix_seed, people, rows_of, split_of, split_seed, to_bytes)
from expr_course.faces import VERSION, render, sample_identities

split_names = st.sampled_from(list(SEEDS))


def same(a, b):
    assert a.keys() == b.keys()
    for k in a:
        assert torch.equal(a[k], b[k]) if isinstance(a[k], Tensor) else a[k] == b[k], k


def check_batch(batch, n, size):
    "The contract of every source."
    shapes = dict(
        image=(n, 3, size, size), aus=(n, N_AUS, 2), labels=(n, size, size), landmarks=(n, 68, 2), aus_valid=(n,),
        labels_valid=(n,), landmarks_valid=(n,), identity=(n,), emotion=(n,),
    )
    assert batch.keys() == shapes.keys() | {"source", "version"} and len(batch["source"]) == len(batch["version"]) == n
    for k, shape in shapes.items():
        assert tuple(batch[k].shape) == shape, k
    for k in ("image", "aus", "landmarks"):
        assert batch[k].dtype == torch.float32
    for k in ("labels", "identity", "emotion"):
        assert batch[k].dtype == torch.long
    for k in ("aus_valid", "labels_valid", "landmarks_valid"):
        assert batch[k].dtype == torch.bool
    assert (
        batch["image"].min() >= -1
        and batch["image"].max() <= 1
        and torch.equal(from_bytes(to_bytes(batch["image"])), batch["image"])
    )
    assert batch["labels"].min() >= 0 and batch["labels"].max() <= 18
    assert batch["aus"].min() >= 0 and batch["aus"].max() <= 1


# -- splits -----------------------------------------------------------------------------------------------------------
def test_splits_share_no_seed_and_use_every_bit_that_counts():
    ranges = list(SEEDS.values())
    for a in ranges:
        for b in ranges:
            assert a is b or a.stop <= b.start or b.stop <= a.start
    assert max(r.stop for r in ranges) <= 2**31, "torch seeds with 32 bits, and the renderer uses one of them"


@given(split_names, split_names, st.integers(0, 2**29 - 1), st.integers(0, 2**29 - 1))
def test_no_two_splits_hold_the_same_person(a, b, i, j):
    one, two = sample_identities(1, split_seed(a, i)), sample_identities(1, split_seed(b, j))
    assert one.values.equal(two.values) == ((a, i) == (b, j))


@pytest.mark.parametrize("split", list(SEEDS))
def test_split_seed_says_what_is_out_of_range(split):
    assert split_seed(split, len(SEEDS[split]) - 1) == SEEDS[split].stop - 1
    for k in (-1, len(SEEDS[split]), 2**40):
        with pytest.raises(ValueError, match=f"{split} has seeds number 0 to"):
            split_seed(split, k)
    with pytest.raises(ValueError, match="'valid'.*train, val, test"):
        split_seed("valid", 0)


@given(split_names, st.integers(-5, 2**40), st.integers(0, 2**40), st.integers(1, 130))
def test_face_numbers_stay_in_their_split_and_do_not_repeat(split, seed, start, count):
    numbers = face_numbers(split, seed, start, count)
    assert len(set(numbers)) == count and {split_of(n) for n in numbers} == {split}
    assert face_numbers(split, seed, start + 1, count)[:-1] == numbers[1:]


def test_runs_with_other_seeds_see_other_faces():
    for split, seeds in SEEDS.items():
        starts = sorted(face_numbers(split, s, 0, 1)[0] // CROWD for s in range(200))
        gaps = [b - a for a, b in zip(starts, starts[1:] + [starts[0] + len(seeds)])]
        assert min(gaps) * CROWD > 10_000_000


@pytest.mark.parametrize("number", [-1, 2**31 * CROWD])
def test_a_number_that_is_none(number):
    with pytest.raises(ValueError, match="no face number"):
        split_of(number)
    with pytest.raises(ValueError, match="no face number"):
        people([number])


def test_mix_seed_is_stable_and_spreads():
    assert mix_seed("aus", 0) == 2993072602  # written into every stored face: must never change
    assert len({mix_seed("x", i) for i in range(2000)}) == 2000
    assert mix_seed("a", 11) != mix_seed("a1", 1)


# -- faces by number --------------------------------------------------------------------------------------------------
def test_a_face_depends_on_its_number_alone():
    numbers = face_numbers("train", 3, CROWD - 3, 6)
    together = draw_faces(numbers, 32)
    check_batch(together, 6, 32)
    apart = [draw_faces([n], 32) for n in reversed(numbers)][::-1]
    for i, one in enumerate(apart):
        assert (to_bytes(one["image"]).int() - to_bytes(together["image"][i:i + 1]).int()).abs().max() <= 1
        assert torch.equal(one["aus"][0], together["aus"][i]) and int(one["identity"]) == numbers[i]
    assert together["source"] == ["drawn"] * 6 and together["version"] == [VERSION] * 6


def test_people_are_found_again_by_number():
    batch = draw_faces(face_numbers("test", 0, 60, 8), 32)
    numbers = batch["identity"].tolist()
    again = render(people(numbers), expressions(numbers), size=32)
    assert torch.equal(from_bytes(to_bytes(again.image)), batch["image"]) and torch.equal(again.aus, batch["aus"])
    assert torch.equal(people(numbers[::-1]).values, people(numbers).values.flip(0))


# -- eight bits and rows ----------------------------------------------------------------------------------------------
def test_every_level_survives():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(from_bytes(levels)), levels)
    assert to_bytes(torch.tensor([-3.0, -1, 1, 3])).tolist() == [0, 0, 255, 255]


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([True, False]), st.integers(0, 99))
def test_png_is_lossless(height, width, colour, seed):
    pixels = (
        np.random.default_rng(seed).integers(0, 256, (height, width, 3) if colour else (height, width)).astype(np.uint8)
    )
    assert np.array_equal(from_png(encode_png(pixels)), pixels)


@given(st.tuples(st.booleans(), st.booleans(), st.booleans()), st.integers(0, 50))
def test_rows_and_batches_agree_whatever_is_known(known, seed):
    g = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (8, 8, 3), generator=g, dtype=torch.uint8).numpy()
    aus = torch.rand(N_AUS, 2, generator=g) if known[0] else None
    labels = torch.randint(19, (8, 8), generator=g, dtype=torch.uint8).numpy() if known[1] else None
    landmarks = torch.rand(68, 2, generator=g) * 8 if known[2] else None
    row = make_row(image, "test", "1", aus, labels, landmarks, identity=seed)
    batch = collate([row, make_row(image, "test", "1")])
    check_batch(batch, 2, 8)
    assert [bool(batch[f"{k}_valid"][0]) for k in ("aus", "labels", "landmarks")] == list(known)
    assert not any(batch[f"{k}_valid"][1] for k in ("aus", "labels", "landmarks"))
    assert (batch["aus"][0] == (aus if known[0] else 0)).all() and (
        batch["landmarks"][0] == (landmarks if known[2] else 0)
    ).all()
    assert (batch["labels"][0].numpy() == (labels if known[1] else 0)).all() and batch["identity"].tolist() == [
        seed,
        -1,
    ]
    same(collate(rows_of(batch)), batch)


def test_the_schema_holds_a_row():
    from datasets import Dataset
    batch = draw_faces(face_numbers("val", 0, 0, 3), 32)
    stored = Dataset.from_list(rows_of(batch), features=features())
    assert data.FEATURES == features() == stored.features
    same(collate([stored[i] for i in range(3)]), batch)
    with pytest.raises(AttributeError, match="FEATURE"):
        _ = data.FEATURE


image = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize("given_, says", [
    (dict(image=image[..., 0]), "uint8 H×W×3"), (dict(image=image / 255), "float64"),
    (dict(image=image, aus=torch.full((17,), 3.0)), "divide by 5"), (dict(image=image, aus=torch.zeros(12)), "17"),
    (dict(image=image, aus=torch.full((17, 2), torch.nan)), "AU01.*nan"),
    (dict(image=image, labels=np.full((8, 8), 19, np.uint8)), "up to 19"),
    (dict(image=image, labels=np.zeros((4, 4), np.uint8)), r"\(4, 4\)"),
    (dict(image=image, labels=np.zeros((8, 8))), "float64"),
    (dict(image=image, landmarks=torch.zeros(5, 2)), r"\(5, 2\)"),
    (dict(image=image, landmarks=torch.full((68, 2), torch.inf)), "finite")])
def test_rows_that_cannot_be_meant(given_, says):
    with pytest.raises(ValueError, match=says):
        make_row(source="s", version="1", **given_)


def test_a_batch_has_one_size():
    rows = [make_row(np.zeros((s, s, 3), np.uint8), "s", "1") for s in (8, 16)]
    with pytest.raises(ValueError, match=r"\(8, 8, 3\), \(16, 16, 3\)"):
        collate(rows)


# -- sources ----------------------------------------------------------------------------------------------------------
@given(st.integers(0, 3), st.integers(1, 20), st.integers(0, 60), st.integers(1, 45))
def test_a_deck_deals_every_card_once_per_epoch(seed, n, start, count):
    row = deal(seed, n, 0, start + count)
    assert deal(seed, n, start, count) == row[start:]
    for epoch in range(len(row) // n):
        assert sorted(row[epoch * n:(epoch + 1) * n]) == list(range(n))
    assert deal(None, n, start, count) == [p % n for p in range(start, start + count)]


@pytest.fixture(scope="module")
def cached():
    return CachedFaces(DrawnFaces("train", 32, 8), count=20, batch_size=6, seed=1)


def sources():
    return [lambda: DrawnFaces("train", 32, 4, seed=5), lambda: CachedFaces(DrawnFaces("val", 32, 8), 10, 4)]


@pytest.mark.parametrize("make", sources())
def test_a_source_resumes_at_any_batch(make):
    whole = make()
    batches = [b for _, b in zip(range(5), whole)]
    assert whole.position == 5
    for b in batches:
        check_batch(b, 4, 32)
    for k in range(5):
        first, second = make(), make()
        for _ in zip(range(k), first):
            pass
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        same(next(iter(second)), batches[k])


def test_batch_size_does_not_choose_the_faces():
    small, large = DrawnFaces("test", 32, 4, seed=2), DrawnFaces("test", 32, 12, seed=2)
    assert torch.cat([small.batch(k)["identity"] for k in range(3)]).equal(large.batch(0)["identity"])


def test_a_cache_gives_the_faces_of_its_source(cached):
    drawn = draw_faces(face_numbers("train", 0, 0, 20), 32)
    batch = cached.batch(0)
    check_batch(batch, 6, 32)
    for i, number in enumerate(batch["identity"].tolist()):
        j = drawn["identity"].tolist().index(number)
        assert (to_bytes(batch["image"][i]).int() - to_bytes(drawn["image"][j]).int()).abs().max() <= 1
        for k in ("aus", "labels", "landmarks"):
            assert torch.allclose(batch[k][i].float(), drawn[k][j].float(), atol=1e-3)
    assert not cached.batch(0)["identity"].equal(cached.batch(7)["identity"])
    assert cached.nbytes() >= 20 * 32 * 32 * 4
    in_order = CachedFaces(DrawnFaces("train", 32, 8), count=20, seed=None)
    assert in_order.batch(0)["identity"].tolist() == drawn["identity"][:8].tolist()


def test_processes_share_the_row_without_overlap():
    ranks = [DrawnFaces("train", 32, 2) for _ in range(3)]
    for rank, source in enumerate(ranks):
        source.shard(rank, 3)
    seen = [next(it)["identity"].tolist() for _ in range(2) for it in map(iter, ranks)]
    assert sum(seen, []) == face_numbers("train", 0, 0, 12)


@pytest.mark.parametrize("other, says", [
    (dict(batch_size=8), "batch_size is 4.*8"), (dict(seed=1), "seed"), (dict(size=64), "size"),
    (dict(split="val"), "split")])
def test_a_state_of_other_settings_is_refused(other, says):
    usual = dict(split="train", size=32, batch_size=4, seed=0)
    state = DrawnFaces(**usual).state_dict()
    with pytest.raises(ValueError, match=says):
        DrawnFaces(**usual | other).load_state_dict(state)
    check_same_source({"a": 1}, {"a": 1}, "x", "y")


def test_sources_that_cannot_be_meant():
    with pytest.raises(ValueError, match="'training'"):
        DrawnFaces("training")
    with pytest.raises(ValueError, match="at least one face, not 0"):
        DrawnFaces("train", batch_size=0)
    with pytest.raises(ValueError, match="at least one face, not 0"):
        CachedFaces(DrawnFaces("train", 32), 0)
    with pytest.raises(NotImplementedError, match=r"Source needs batch\(k\)"):
        Source(1).batch(0)


def test_training_code_needs_no_data_library():
    code = (
        "import sys\nfor m in ('datasets', 'pyarrow', 'kornia', 'matplotlib', 'IPython'): sys.modules[m] = None\n"
        "from expr_course.data.sources import DrawnFaces, CachedFaces\n"
        "print(CachedFaces(DrawnFaces('train', 32, 2), 2).batch(0)['image'].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "[2, 3, 32, 32]" in done.stdout, done.stderr


NO_GPU = "needs a CUDA GPU: faces drawn on it must agree with those of the CPU to one level"


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_GPU)
def test_a_gpu_draws_the_same_faces():
    a, b = DrawnFaces("val", 64, 8).batch(3), DrawnFaces("val", 64, 8, device="cuda").batch(3)
    off = (to_bytes(a["image"]).int() - to_bytes(b["image"].cpu()).int()).abs()
    assert (off <= 1).float().mean() > 0.999 and (a["labels"] == b["labels"].cpu()).float().mean() > 0.999
