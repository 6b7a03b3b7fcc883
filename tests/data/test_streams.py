"""Sources that read: one row of batches through every door, every row once per epoch, shared by two real processes
without gaps, and resumed to the very next batch."""
import json
import subprocess
import sys

import datasets
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from expr_course.data.shards import make_faces
from expr_course.data.sources import CachedFaces, DrawnFaces, draw_faces, face_numbers, features, to_bytes
from expr_course.data.streams import FaceShards, StreamedFaces, epoch_order, open_faces


@pytest.fixture(autouse=True)
def no_long_wait(monkeypatch):
    """The library waits 5 s after each shuffled stream, for threads that still read from a server; here are six rows a
    file."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    make_faces(folder, "train", count=24, size=32, shard_size=6, progress=False)
    return folder


def files(home, count=4):
    return [f"file://{p}" for p in sorted((home / "train").glob("*.parquet"))[:count]]
def take(source, n):
    return [b for b, _ in zip(source, range(n))] if n else []


def same(a, b):
    for k in a:
        if k == "image":
            assert (to_bytes(a[k]).int() - to_bytes(b[k]).int()).abs().max() <= 1
        elif isinstance(a[k], Tensor):
            assert torch.allclose(a[k].float(), b[k].float(), atol=1e-4), k
        else:
            assert a[k] == b[k], k


# -- shards -----------------------------------------------------------------------------------------------------------
def test_every_door_gives_the_same_batches(home):
    drawn = DrawnFaces("train", 32, 5)
    doors = [CachedFaces(DrawnFaces("train", 32, 10), 24, 5, seed=None), FaceShards(home, "train", 5, seed=None),
             FaceShards(home, "train", 5, seed=None, streaming=True)]
    for k in range(4):
        for door in doors:
            same(door.batch(k), drawn.batch(k))


def test_datasets_reads_the_folder(home):
    whole, stream = open_faces(home, "train"), list(open_faces(home, "train", streaming=True))
    assert whole.features == features() and len(whole) == len(stream) == 24
    numbers = face_numbers("train", 0, 0, 24)
    assert whole["identity"][:] == numbers == [row["identity"] for row in stream]
    assert whole[0]["aus"] == stream[0]["aus"] and whole[0]["image"].size == stream[0]["image"].size == (32, 32)
    assert torch.allclose(torch.tensor(whole[0]["aus"]), draw_faces(numbers[:1], 32)["aus"][0])


@pytest.mark.parametrize("streaming", [False, True])
def test_shards_resume_at_any_batch(home, streaming):
    def make():
        return FaceShards(home, "train", 6, seed=3, streaming=streaming, mix=2)
    row = [b["identity"].tolist() for _, b in zip(range(9), make())]
    faces = sum(row, [])
    assert sorted(faces[:24]) == sorted(faces[24:48]) == sorted(face_numbers("train", 0, 0, 24))
    for k in (0, 1, 3, 4, 8):
        again = make()
        again.load_state_dict(json.loads(json.dumps({"position": k, "settings": make().settings()})))
        assert next(iter(again))["identity"].tolist() == row[k]


def test_a_stream_keeps_few_shards(tmp_path):
    make_faces(tmp_path, "val", count=24, size=32, shard_size=4, progress=False)
    stream = FaceShards(tmp_path, "val", 4, streaming=True, mix=1)
    for k in range(12):
        stream.batch(k)
    assert stream.table.cache_info().currsize == 2 and stream.table.cache_info().misses <= 12


@given(st.integers(0, 5), st.integers(0, 3), st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 5))
def test_an_epoch_holds_every_row_once_and_few_shards_at_a_time(seed, epoch, sizes, mix):
    order = epoch_order(seed, epoch, tuple(sizes), mix).tolist()
    assert sorted(order) == list(range(sum(sizes)))
    shard = [j for j, s in enumerate(sizes) for _ in range(s)]
    lives = {}
    for place, row in enumerate(order):
        lives.setdefault(shard[row], []).append(place)
    assert all(max(p) - min(p) < sum(sorted(sizes)[-mix:]) for p in lives.values())
    assert epoch_order(None, epoch, tuple(sizes), mix).tolist() == list(range(sum(sizes)))


def test_a_state_of_another_folder_is_refused(home, tmp_path):
    make_faces(tmp_path, "train", count=4, size=32, progress=False)
    with pytest.raises(ValueError, match="made is.*start afresh"):
        FaceShards(tmp_path, "train").load_state_dict(FaceShards(home, "train").state_dict())


# -- streams ----------------------------------------------------------------------------------------------------------
def test_stored_order_is_that_of_the_shards(home):
    stream, shards = StreamedFaces(files(home), 5, seed=None), FaceShards(home, "train", 5, seed=None)
    for k, batch in enumerate(take(stream, 4)):
        assert batch["image"].equal(shards.batch(k)["image"]) and batch["labels"].equal(shards.batch(k)["labels"])


def test_every_epoch_has_every_row_once_in_another_order(home):
    seen = torch.cat([b["identity"] for b in take(StreamedFaces(files(home), 8, buffer=10), 6)])
    first, second = seen[:24], seen[24:]
    assert len(first.unique()) == len(second.unique()) == 24 and not first.equal(second)


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_resumed_to_the_very_next_batch(home, stop):
    source = StreamedFaces(files(home), 7, buffer=9)
    it = iter(source)
    for _ in range(stop):
        next(it)
    state = json.loads(json.dumps(source.state_dict()))
    other = StreamedFaces(files(home), 7, buffer=9)
    other.load_state_dict(state)
    for a, b in zip([next(it) for _ in range(3)], take(other, 3)):
        assert a["identity"].equal(b["identity"]) and a["image"].equal(b["image"])


def test_states_of_other_streams_are_refused(home):
    state = StreamedFaces(files(home), 7).state_dict()
    for other in (
        StreamedFaces(files(home), 8), StreamedFaces(files(home, 3), 7), StreamedFaces(files(home), 7, seed=1),
        StreamedFaces(files(home), 7, buffer=5),
    ):
        with pytest.raises(ValueError, match="afresh"):
            other.load_state_dict(state)


SCRIPT = """
import json, sys
import datasets
from expr_course.data.streams import FaceShards, StreamedFaces
datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0.1
rank, home, *names = sys.argv[1:]
if __name__ == "__main__":
    for kind, count in (("stream", 4), ("stream", 3), ("shards", 4)):
        if kind == "stream":
            source = StreamedFaces(names[:count], 3, buffer=5)
        else:
            source = FaceShards(home, "train", 3, streaming=True, mix=2)
        source.shard(int(rank), 2)
        print(json.dumps([kind, count, [batch["identity"].tolist() for batch, _ in zip(source, range(count))]]))
"""


@pytest.fixture(scope="module")
def dealt(home):
    """{(kind, number of files): what two real processes got, batches of each}."""
    script = home / "one.py"
    script.write_text(SCRIPT)
    both = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(home), *files(home)], stdout=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    parts = {}
    for line in "".join(p.communicate(timeout=250)[0] for p in both).splitlines():
        kind, count, batches = json.loads(line)
        parts.setdefault((kind, count), []).append(batches)
    return parts


@pytest.mark.parametrize("kind, count", [("stream", 4), ("stream", 3), ("shards", 4)])
def test_two_real_processes_share_an_epoch(dealt, kind, count):
    """No face twice, none never: by files (4), by rows (3), and for FaceShards by batches."""
    assert len(dealt[kind, count]) == 2
    everyone = [i for part in dealt[kind, count] for batch in part for i in batch]
    assert len(everyone) == len(set(everyone)) == 6 * count


def test_what_cannot_be_a_stream(home):
    for bad in (dict(files=[]), dict(files="x", buffer=0), dict(files="x", batch_size=0)):
        with pytest.raises(ValueError):
            StreamedFaces(**bad)
    with pytest.raises(NotImplementedError):
        StreamedFaces(files(home)).batch(0)
