"""The engine: the same bytes interrupted or not and with any number of processes, bad files reported, people in one
split."""
import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, strategies as st
from layouts import celebamask, contents, drawn, rows, save

from expr_course.data import convert as engine
from expr_course.data.celebamask import CelebAMask
from expr_course.data.convert import (Collection, Record, Walk, add_tallies, assign_splits, check_disjoint,
                                      convert, identity_number, plan, report)
from expr_course.data.crops import Crop, Face, crop_of_picture
from expr_course.data.sources import SEEDS
from expr_course.faces import FRAME
from expr_course.data.shards import fill_folder, read_manifest, verify
from expr_course.data.streams import FaceShards


@dataclass
class Toy(Collection):
    kind = "toy"

    def walk(self):
        names = sorted(p.name for p in self.root.glob("*.png"))
        splits = assign_splits([n[0] for n in names], 0.25, 0.25)
        return Walk([Record(n, splits[n[0]], n[0], (k / 20,)) for k, n in enumerate(names)])

    def load(self, record):
        image = self.image(record.key)
        crop, aus = crop_of_picture(*image.shape[:0:-1]), np.full(17, record.data[0])
        return Face(image, crop, aus=aus, emotion=1, how="whole")


@pytest.fixture
def album(tmp_path):
    pictures = drawn(4, 64)[0]
    for k in range(16):
        save(np.roll(pictures[k // 4], k, 0), tmp_path / "album" / f"{'abcd'[k // 4]}{k}.png")
    return tmp_path / "album"


def test_rows_and_manifest(album, tmp_path):
    summary = convert(Toy(album), tmp_path / "out", size=32, shard_size=3, progress=False)
    stored = rows(tmp_path / "out")
    assert set(stored) == {f"toy/{p.name}" for p in album.iterdir()}
    row = stored["toy/b5.png"]
    assert (
        row["aus"]
        == [
            [pytest.approx(k / 20), pytest.approx(k / 20)]
            for k in [sorted(p.name for p in album.iterdir()).index("b5.png")] * 17
        ]
        and row["aus_valid"]
    )
    assert (
        not row["labels_valid"]
        and not row["landmarks_valid"]
        and row["emotion"] == 1
        and row["identity"] == identity_number("toy", "b")
    )
    made = read_manifest(tmp_path / "out" / "train")["settings"]
    assert (made["kind"], made["size"], made["frame"], made["count"]) == ("toy", 32, dict(FRAME), 8)
    assert str(tmp_path) not in json.dumps([read_manifest(tmp_path / "out" / s) for s in ("train", "val", "test")])
    assert sum(verify(tmp_path / "out").values()) == 16 and {k: s["people"] for k, s in summary["splits"].items()} == {
        "train": 2, "val": 1, "test": 1,
    }
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert sum(map(sum, summary["splits"]["train"]["aus"])) == 17 * 8 and "happiness 8" in report(summary)
    assert next(iter(FaceShards(tmp_path / "out", "train", 4)))["image"].shape == (4, 3, 32, 32)


def test_interrupted_resumed_and_in_several_processes(tmp_path):
    celebamask(tmp_path / "tree", numbers=(0, 1, 2, 3, 4, 5), originals=(1, 2, 3, 4, 5, 6), size=64)
    collection, whole_run = CelebAMask(tmp_path / "tree"), dict(size=24, shard_size=2, progress=False)
    convert(collection, tmp_path / "a", **whole_run)
    settings, jobs = plan(collection, collection.walk().records, "train", 24, 2, None)
    fill_folder(tmp_path / "b" / "train", settings, jobs, 9999, limit=1, progress=False, make=engine.convert_shard)
    assert len(read_manifest(tmp_path / "b" / "train")["shards"]) == 1
    convert(collection, tmp_path / "b", processes=2, **whole_run)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_bad_files_are_reported(album, tmp_path):
    (album / "a0.png").write_bytes(b"")
    (album / "c9.png").write_bytes((album / "c9.png").read_bytes()[:300])
    save(np.zeros((8, 8, 3), np.uint8), album / "d12.png")
    summary = convert(Toy(album), tmp_path / "out", size=32, progress=False)
    text = (tmp_path / "out" / "skipped.csv").read_text()
    assert len(rows(tmp_path / "out")) == 13 and sum(s["skipped"] for s in summary["splits"].values()) == 3
    assert (
        "a0.png" in text and "empty" in text and "damaged" in text and "8 pixels" in text and str(tmp_path) not in text
    )
    assert sum(verify(tmp_path / "out").values()) == 13
    FaceShards(tmp_path / "out", "train", 4).batch(5)


def test_nothing_to_convert(tmp_path, album):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="nothing to convert"):
        convert(Toy(tmp_path / "empty"), tmp_path / "out", progress=False)
    with pytest.raises(FileNotFoundError, match="no folder"):
        convert(Toy(tmp_path / "missing"), tmp_path / "out", progress=False)
    for p in album.iterdir():
        p.write_bytes(b"x")
    with pytest.raises(ValueError, match="no face could be converted.*not a picture"):
        convert(Toy(album), tmp_path / "out", progress=False)


def test_limit_and_other_settings(album, tmp_path):
    convert(Toy(album), tmp_path / "out", size=32, limit=2, progress=False)
    assert len(rows(tmp_path / "out")) == 6
    for change in (dict(size=48, limit=2), dict(size=32), dict(size=32, limit=2, shard_size=1)):
        with pytest.raises(ValueError, match="afresh"):
            convert(Toy(album), tmp_path / "out", progress=False, **change)
    for bad in (dict(size=8), dict(limit=0), dict(shard_size=0)):
        with pytest.raises(ValueError):
            convert(Toy(album), tmp_path / "new", progress=False, **bad)


def test_a_damaged_shard_is_made_again(album, tmp_path):
    convert(Toy(album), tmp_path / "out", size=32, shard_size=3, progress=False)
    before, shard = contents(tmp_path / "out"), tmp_path / "out" / "train" / "shard-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])
    (tmp_path / "out" / "val" / "shard-00000.parquet").unlink()
    convert(Toy(album), tmp_path / "out", size=32, shard_size=3, progress=False)
    assert contents(tmp_path / "out") == before


def test_a_person_in_two_splits_is_refused(album, tmp_path):
    class Leaky(Toy):
        def walk(self):
            return Walk(
                [
                    Record(r.key, "val" if r.key == "a0.png" else "train", r.identity, r.data)
                    for r in super().walk().records
                ]
            )
    with pytest.raises(ValueError, match="a would be in (val and in train|train and in val)"):
        convert(Leaky(album), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    check_disjoint([Record("1", "train"), Record("2", "val")])


def test_two_records_of_one_name_are_refused(album, tmp_path):
    class Twice(Toy):
        def walk(self):
            return Walk(super().walk().records * 2)
    with pytest.raises(ValueError, match="stand twice"):
        convert(Twice(album), tmp_path / "out", progress=False)


@given(st.sets(st.text(min_size=1, max_size=5), max_size=60), st.floats(0, 0.4), st.floats(0, 0.4))
def test_splits_depend_on_names_only(names, val, test):
    splits = assign_splits(names, val, test)
    assert splits == assign_splits(sorted(names, reverse=True) * 2, val, test) and set(splits) == names
    assert sum(s == "test" for s in splits.values()) == round(test * len(names))


def test_shares_must_leave_something():
    with pytest.raises(ValueError):
        assign_splits("abc", 0.5, 0.5)
    with pytest.raises(ValueError):
        assign_splits("abc", -0.1, 0.5)


def test_identity_numbers_are_nobody_elses():
    numbers = {identity_number(kind, name) for kind in ("a", "b") for name in map(str, range(500))}
    assert (
        len(numbers) == 1000
        and min(numbers) > SEEDS["test"].stop * 64
        and max(numbers) < 2**63
        and identity_number("a", "") == -1
    )


def test_a_face_outside_of_its_picture(album, tmp_path):
    class Away(Toy):
        def load(self, record):
            return Face(self.image(record.key), Crop(-30, -30, 32))
    with pytest.raises(ValueError, match="outside of the picture"):
        convert(Away(album), tmp_path / "out", progress=False)


def test_tallies_add():
    assert add_tallies({"a": [1, 2], "b": {"x": 1}}, {"a": [3, 4], "b": {"y": 2}}) == {
        "a": [4, 6],
        "b": {"x": 1, "y": 2},
    }


def test_an_unexpected_error_is_a_reason_too(album, tmp_path):
    class Broken(Toy):
        def load(self, record):
            return super().load(record) if record.key != "a1.png" else {}["no"]
    convert(Broken(album), tmp_path / "out", size=32, progress=False)
    assert "a1.png,KeyError: 'no'" in (tmp_path / "out" / "skipped.csv").read_text()
