"""Files: whole or not at all, through a kill, an error, a full disk and two writers at once."""
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from expr_course import files
from expr_course.files import whole, write_bytes, write_text

KILLED = """
import sys, time
from expr_course.files import whole
with whole(sys.argv[1]) as hidden, open(hidden, "wb") as file:
    file.write(b"new" * 100_000)
    file.flush()
    print(hidden.name, flush=True)
    time.sleep(600)
"""
WRITER = """
import sys
from expr_course.files import write_bytes
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    write_bytes(sys.argv[1], sys.argv[2].encode() * 300_000)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def started(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_what_is_written_is_there(tmp_path):
    assert write_bytes(tmp_path / "new" / "folder" / "x.bin", b"\0\1") == tmp_path / "new" / "folder" / "x.bin"
    assert (tmp_path / "new" / "folder" / "x.bin").read_bytes() == b"\0\1"
    assert write_text(str(tmp_path / "x.txt"), "Grüße\n").read_bytes() == "Grüße\n".encode()
    write_text(tmp_path / "x.txt", "")
    assert (tmp_path / "x.txt").read_bytes() == b"" and names(tmp_path) == ["new", "x.txt"]


def test_the_hidden_path_stands_beside_and_keeps_the_ending(tmp_path):
    with whole(tmp_path / "picture.png") as hidden:
        assert hidden.parent == tmp_path and hidden.suffix == ".png" and hidden.name.startswith(".picture.png.")
        hidden.write_bytes(b"1")
        assert not (tmp_path / "picture.png").exists()
    assert names(tmp_path) == ["picture.png"]


@pytest.mark.parametrize("there", [True, False])
def test_a_killed_writer_leaves_the_file_as_it_was(tmp_path, there):
    target = tmp_path / "x"
    if there:
        target.write_bytes(b"old")
    process = started(KILLED, target)
    left = process.stdout.readline().strip()
    process.kill()
    process.communicate()
    assert target.read_bytes() == b"old" if there else not target.exists()
    assert names(tmp_path) == sorted([left] + ["x"] * there), "half of the new file, under a name that nobody reads"
    write_bytes(target, b"newer")
    assert target.read_bytes() == b"newer"


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    write_bytes(tmp_path / "x", b"old")
    with pytest.raises(RuntimeError, match="in the middle"), whole(tmp_path / "x") as hidden:
        hidden.write_bytes(b"half")
        raise RuntimeError("in the middle")
    with pytest.raises(FileNotFoundError), whole(tmp_path / "y"):
        pass  # nothing was written
    assert names(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == b"old"


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    def full(_):
        raise OSError("no space left on device")
    write_bytes(tmp_path / "x", b"old")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_bytes(tmp_path / "x", b"new")
    assert names(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == b"old"


def test_the_bytes_are_on_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    steps = []

    def noted(name):
        act = getattr(os, name)

        def act_and_note(*arguments):
            steps.append(name)
            return act(*arguments)
        return act_and_note
    for name in ("fsync", "replace"):
        monkeypatch.setattr(files.os, name, noted(name))
    write_text(tmp_path / "x", "text")
    assert steps == ["fsync", "replace"]


def test_two_processes_at_once_write_two_whole_files(tmp_path):
    target = write_bytes(tmp_path / "x", b"c" * 300_000)
    both = [started(WRITER, target, letter) for letter in "ab"]
    for process in both:
        process.stdout.readline()
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = set()
    while any(process.poll() is None for process in both):
        data = target.read_bytes()
        assert len(data) == 300_000 and len(set(data)) == 1, "a reader saw a file that nobody wrote"
        found.add(data[:1])
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert names(tmp_path) == ["x"] and found & {b"a", b"b"}


def test_two_threads_at_once_write_two_whole_files(tmp_path):
    errors = []

    def write(letter):
        try:
            for _ in range(100):
                with whole(tmp_path / "x.json") as hidden, open(hidden, "w") as file:
                    json.dump([letter] * 2000, file)
                assert len(set(json.loads((tmp_path / "x.json").read_text()))) == 1
        except BaseException as e:
            errors.append(e)
    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and names(tmp_path) == ["x.json"]


def test_a_folder_in_the_way_is_an_error_and_stays(tmp_path):
    (tmp_path / "x").mkdir()
    Path(tmp_path / "x" / "inside").write_bytes(b"1")
    with pytest.raises(OSError):
        write_bytes(tmp_path / "x", b"new")
    assert names(tmp_path) == ["x"] and names(tmp_path / "x") == ["inside"]
