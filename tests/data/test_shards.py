"""Shards: the same bytes interrupted or not, damage that is named, and a sheet to look at."""
import json
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from expr_course.data import shards
from expr_course.data.shards import examples, main, make_faces, read_manifest, read_shard, verify
from expr_course.data.sources import SEEDS, split_of
from expr_course.data.streams import FaceShards, open_faces
from expr_course.faces import FRAME, VERSION

SMALL = dict(count=20, size=32, shard_size=8, progress=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    make_faces(folder, "train", **SMALL)
    return folder


@pytest.fixture
def copy(home, tmp_path):
    "A copy to be damaged."
    (tmp_path / "train").mkdir()
    for f in (home / "train").iterdir():
        (tmp_path / "train" / f.name).write_bytes(f.read_bytes())
    return tmp_path


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}


# -- making -----------------------------------------------------------------------------------------------------------
def test_the_manifest_says_what_the_folder_is(home):
    manifest = read_manifest(home / "train")
    made = manifest["settings"]
    assert (made["version"], made["frame"], made["split"], made["count"], made["size"]) == (
        VERSION, dict(FRAME), "train", 20, 32,
    )
    assert made["seeds"] == [SEEDS["train"].start, SEEDS["train"].stop]
    assert [e["faces"] for e in manifest["shards"].values()] == [8, 8, 4]
    assert set(contents(home / "train")) == {"manifest.json", *manifest["shards"]}
    assert verify(home) == {"train": 20}
    assert str(Path.home()) not in json.dumps(manifest)


def test_interrupted_or_in_one_go_the_bytes_are_the_same(home, tmp_path):
    for limit in (1, 0, 1, None):
        make_faces(tmp_path, "train", limit=limit, **SMALL)
    assert contents(tmp_path / "train") == contents(home / "train")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "train").glob("shard-*")}
    make_faces(tmp_path, "train", **SMALL)
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "train").glob("shard-*")}, "finished shards are kept"


def test_several_processes_write_the_same_bytes(home, tmp_path):
    make_faces(tmp_path, "train", processes=2, **SMALL)
    assert contents(tmp_path / "train") == contents(home / "train")


def test_threads_are_left_as_they_were(tmp_path):
    before = torch.get_num_threads()
    make_faces(tmp_path, "val", count=2, size=32, progress=False)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL: run it on Linux or macOS")
def test_a_killed_run_goes_on_to_the_same_bytes(home, tmp_path):
    arguments = [str(tmp_path), "--count", "20", "--size", "32", "--shard-size", "8", "--processes", "1"]
    code = f"from expr_course.data.shards import main; main({arguments!r})"
    killed = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = tmp_path / "train" / "shard-00000.parquet"
    for _ in range(1200):
        if first.exists() or killed.poll() is not None: break
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert first.exists()
    make_faces(tmp_path, "train", **SMALL)
    assert contents(tmp_path / "train") == contents(home / "train")


def test_splits_share_nobody(home, tmp_path):
    make_faces(tmp_path, "test", **SMALL)
    people = [{row["identity"] for row in open_faces(f, s)} for f, s in ((home, "train"), (tmp_path, "test"))]
    assert len(people[0]) == len(people[1]) == 20 and not people[0] & people[1]
    assert [{split_of(n) for n in p} for p in people] == [{"train"}, {"test"}]


@pytest.mark.parametrize("other, says", [
    (dict(size=48), "size is 32.*48"), (dict(seed=1), "seed"), (dict(count=30), "count"),
    (dict(shard_size=9), "shard_size")])
def test_other_settings_in_the_same_folder_are_refused(home, other, says):
    before = contents(home / "train")
    with pytest.raises(ValueError, match=f"{says}.*start afresh"):
        make_faces(home, "train", **SMALL | other)
    assert contents(home / "train") == before


def test_another_version_of_the_renderer_is_refused(copy, monkeypatch):
    monkeypatch.setattr(shards, "VERSION", "other")
    with pytest.raises(ValueError, match="version is.*'other'"):
        make_faces(copy, "train", **SMALL)


@pytest.mark.parametrize("bad, says", [
    (dict(split="training"), "'training'"), (dict(count=0), "at least 1"), (dict(shard_size=0), "at least 1"),
    (dict(size=16), "32 to 256")])
def test_settings_that_cannot_be_meant(tmp_path, bad, says):
    with pytest.raises(ValueError, match=says):
        make_faces(tmp_path, **SMALL | bad)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_seen_before_work_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(ValueError, match="GB free: make room"):
        make_faces(tmp_path, **SMALL)


def test_what_a_killed_call_left_over_is_swept(copy, home):
    (copy / "train" / ".shard-00001.parquet.123-4.part.parquet").write_bytes(b"half")
    make_faces(copy, "train", **SMALL)
    assert contents(copy / "train") == contents(home / "train")


# -- a sheet to look at -----------------------------------------------------------------------------------------------
def test_examples_come_from_all_shards_with_landmarks_and_labels(home):
    sheet = examples(home, 4)
    assert sheet.shape[0] == 3 and sheet.min() >= -1 and sheet.max() <= 1
    assert sheet.shape[2] > sheet.shape[1] > 2 * 32, "pictures above, labels below"
    green = (sheet[1] == 1) & (sheet[0] == -1) & (sheet[2] == -1)
    assert green.any(), "landmarks"
    assert examples(home, 30).shape[2] > sheet.shape[2], "more than there are: the rest of the row stays white"


def test_no_example_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="no face"):
        examples(tmp_path)


# -- damage -----------------------------------------------------------------------------------------------------------
def damage(path, how):
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[:-100])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(data[:1000] + bytes([data[1000] ^ 4]) + data[1001:])


@pytest.mark.parametrize("how", ["gone", "cut", "empty", "one bit"])
def test_a_damaged_shard_is_named_and_made_again(home, copy, how):
    path = copy / "train" / "shard-00001.parquet"
    damage(path, how)
    with pytest.raises(ValueError, match=r"(?s)shard-00001.parquet.*expr-faces"):
        verify(copy)
    with pytest.raises(ValueError, match="shard-00001.parquet is (missing or )?damaged.*expr-faces"):
        source = FaceShards(copy, "train", 8, seed=None)
        source.batch(1)
    make_faces(copy, "train", **SMALL)
    assert contents(copy / "train") == contents(home / "train")


@pytest.mark.parametrize("text", [
    "", "{", "[]", "{}", '{"settings": {}, "shards": {"a": {}}}', '{"settings": 3, "shards": {}}'])
def test_a_damaged_manifest_is_named(copy, text):
    (copy / "train" / "manifest.json").write_text(text)
    for call in (lambda: FaceShards(copy, "train"), lambda: verify(copy), lambda: make_faces(copy, "train", **SMALL)):
        with pytest.raises(ValueError, match="manifest.json is damaged.*delete it"):
            call()


def test_a_lost_manifest_is_made_again(home, copy):
    (copy / "train" / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="manifest.json.*expr-faces"):
        FaceShards(copy, "train")
    with pytest.raises(FileNotFoundError, match="no split"):
        verify(copy)
    make_faces(copy, "train", **SMALL)
    assert contents(copy / "train") == contents(home / "train")


def test_an_unfinished_folder_is_not_read(tmp_path):
    make_faces(tmp_path, "train", limit=1, **SMALL)
    with pytest.raises(ValueError, match="8 of 20 faces"):
        FaceShards(tmp_path, "train")
    with pytest.raises(ValueError, match="8 of 20 faces"):
        verify(tmp_path)


def test_faces_of_another_version_warn(home, monkeypatch):
    monkeypatch.setattr(shards, "VERSION", "99")
    with pytest.warns(UserWarning, match=f"version {VERSION} of the renderer and this is 99"):
        FaceShards(home, "train")


def test_every_flipped_data_bit_is_noticed_or_harmless(home, tmp_path, cases):
    """Most of the file is pages of data, which carry checksums; a few bits of headers may slip through (the SHA-256
    sees them)."""
    path = home / "train" / "shard-00000.parquet"
    data, right = path.read_bytes(), read_shard(path).to_pylist()
    silent, places = 0, range(0, len(data), len(data) // cases(40, 1000))
    for i in places:
        (tmp_path / "x").write_bytes(data[:i] + bytes([data[i] ^ 16]) + data[i + 1:])
        try:
            silent += read_shard(tmp_path / "x").to_pylist() != right
        except ValueError as e:
            assert "damaged" in str(e)
    assert silent <= 0.05 * len(places)


# -- the command ------------------------------------------------------------------------------------------------------
def test_the_command_makes_verifies_and_explains(tmp_path, capsys):
    usual = [str(tmp_path), "--split", "val", "--count", "6", "--size", "32", "--shard-size", "4", "--processes", "1"]
    main(usual + ["--limit", "1"])
    assert "4 of 6 faces" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="4 of 6"):
        main([str(tmp_path), "--verify"])
    main(usual)
    main([str(tmp_path), "--verify"])
    assert "val: 6 faces" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="expr-faces: size is 32"):
        main(usual[:5] + ["--size", "64", "--shard-size", "4"])
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0 and "--split" in capsys.readouterr().out


def test_the_script_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["make_faces.py", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(Path(__file__).parents[2] / "data_scripts" / "make_faces.py"), run_name="__main__")
    assert "--shard-size" in capsys.readouterr().out
