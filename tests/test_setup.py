"""The set-up script: it explains what is wrong, does nothing twice, and never loses a reader's work."""
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
posix = pytest.mark.skipif(os.name == "nt", reason="uses shell scripts as stand-ins")


def stand_in(folder, name, prints, code=0):
    """A command that prints one line, in the place of a Python."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{prints}'\nexit {code}\n")
    path.chmod(0o755)
    return [str(path)]


# --- finding Python ----------------------------------------------------------------------------------------------

@posix
def test_wrong_python_is_named(setup, tmp_path):
    old = stand_in(tmp_path, "old", '["3.9", "/usr/bin/python3.9", true]')
    with pytest.raises(setup.Problem, match=r"needs Python 3.11, 3.12 or 3.13; found only 3.9 \(/usr/bin/python3.9\)"):
        setup.find_python([old])


@posix
def test_missing_venv_module_is_named(setup, tmp_path):
    bare = stand_in(tmp_path, "bare", '["3.12", "/usr/bin/python3.12", false]')
    with pytest.raises(setup.Problem, match="sudo apt install python3.12-venv"):
        setup.find_python([bare])


@posix
def test_a_python_that_does_not_start_is_passed_over(setup, tmp_path):
    broken = stand_in(tmp_path, "broken", "command not found", code=127)
    good = stand_in(tmp_path, "good", '["3.13", "/usr/local/bin/python3.13", true]')
    assert setup.find_python([["no-such-python"], broken, good]) == "/usr/local/bin/python3.13"


def test_no_python_at_all(setup):
    with pytest.raises(setup.Problem, match="none that starts"):
        setup.find_python([["no-such-python"]])


def test_this_python_is_found(setup):
    assert setup.probe([setup.find_python()])[0] in setup.PYTHONS


@pytest.mark.skipif(not shutil.which("python3.8"), reason="no old Python here")
def test_an_old_python_can_read_the_script():
    done = subprocess.run(["python3.8", str(ROOT / ".ci" / "setup.py")], capture_output=True, text=True)
    assert done.returncode == 127 or "Set expr_course up" in done.stdout  # 127: a shim without a Python behind it


# --- disk, network, pip ------------------------------------------------------------------------------------------

def test_full_disk(setup, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**12, 10**12, 2 * 10**9)
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(setup.Problem, match="2.0 GB free"):
        setup.check_disk(tmp_path)


def test_says_how_much_is_fetched(setup, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup.platform, "system", lambda: "Linux")
    monkeypatch.setattr(setup.shutil, "which", lambda _: None)
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda _: namedtuple("usage", "free")(10**12))
    setup.check_disk(tmp_path)
    assert "about 3.0 GB" in capsys.readouterr().out
    monkeypatch.setenv("TORCH_INDEX", "somewhere")
    setup.check_disk(tmp_path)
    assert "about 0.5 GB" in capsys.readouterr().out


@pytest.mark.parametrize("error, answer", [
    ("Retrying ... NewConnectionError('Failed to establish')\nNo matching distribution found for torch", "no network"),
    ("OSError: [Errno 28] No space left on device", "disk is full"),
    ("ERROR: No matching distribution found for torch==2.14.1", "no ready-made build"),
    ("ERROR: something else", "error above"),
])
def test_errors_are_explained(setup, error, answer):
    assert answer in setup.explain(error)


@posix
def test_pip_failure_stops_with_the_answer(setup, tmp_path, capsys):
    python = setup.venv_python(tmp_path)
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'Temporary failure in name resolution' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(setup.Problem, match="no network"):
        setup.pip(tmp_path, "anything")
    assert "name resolution" in capsys.readouterr().err


# --- the environment ---------------------------------------------------------------------------------------------

@pytest.fixture
def project(tmp_path):
    """A small project: two lessons, a picture, and this test's own Python as its environment."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in (
        "00_tour.ipynb", "01_first.ipynb", "images/face.png", "solutions/01_first.ipynb", ".ipynb_checkpoints/x.ipynb",
    ):
        (tmp_path / "nbs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nbs" / name).write_text(f"original {name}")
    return tmp_path


def test_ready_environment_is_left_alone(setup, project, monkeypatch):
    monkeypatch.setattr(setup, "venv_python", lambda root: Path(sys.executable))
    (project / ".venv").mkdir()
    (project / ".venv" / "expr_course.stamp").write_text(setup.fingerprint(project))
    monkeypatch.setattr(setup, "pip", lambda *_: pytest.fail("installed again"))
    setup.make_env(project)
    (project / "constraints.txt").write_text("torch==99\n")
    assert not setup.is_ready(project), "a changed constraints.txt must lead to a new installation"


@posix
def test_environment_of_an_old_python_is_named(setup, project):
    python = setup.venv_python(project)
    python.parent.mkdir(parents=True)
    stand_in(python.parent, python.name, '["3.10", "x", true]')
    with pytest.raises(setup.Problem, match="holds Python 3.10"):
        setup.make_env(project)


def test_torch_index_goes_first_and_alone(setup, project, monkeypatch):
    calls = []
    monkeypatch.setenv("TORCH_INDEX", "https://example.org/cpu")
    monkeypatch.setattr(setup, "check_disk", lambda root: None)
    monkeypatch.setattr(setup, "pip", lambda root, *arguments: calls.append(arguments))
    monkeypatch.setattr(setup, "prepare_jupyter", lambda root: None)
    monkeypatch.setattr(setup, "probe", lambda command: ("3.12", command[0], True))
    (project / ".venv").mkdir()
    setup.make_env(project)
    assert calls[0] == ("--no-deps", "--index-url", "https://example.org/cpu", "torch==2.14.1", "torchvision==0.29.1")
    assert "--index-url" not in calls[1] and setup.is_ready(project)


# --- the working copy --------------------------------------------------------------------------------------------

def test_first_copy(setup, project):
    report = setup.copy_lessons(project)
    assert report["new"] == ["00_tour.ipynb", "01_first.ipynb", "images/face.png", "solutions/01_first.ipynb"]
    assert (project / "course/images/face.png").read_text() == "original images/face.png"
    assert not list((project / "course").rglob("*checkpoints*"))
    assert not any(setup.copy_lessons(project).values()), "a second time nothing is done"


def test_changed_files_are_never_written_over(setup, project):
    setup.copy_lessons(project)
    (project / "course/01_first.ipynb").write_text("mine")
    assert not any(setup.copy_lessons(project).values())
    (project / "nbs/01_first.ipynb").write_text("a new edition")
    (project / "nbs/00_tour.ipynb").write_text("a new tour")
    report = setup.copy_lessons(project)
    assert (report["kept"], report["updated"]) == (["01_first.ipynb"], ["00_tour.ipynb"])
    assert (project / "course/01_first.ipynb").read_text() == "mine"
    assert (project / "course/00_tour.ipynb").read_text() == "a new tour"
    assert setup.copy_lessons(project)["kept"] == ["01_first.ipynb"], "said again, until the reader decides"


def test_fresh_gives_back_and_loses_nothing(setup, project):
    setup.copy_lessons(project)
    (project / "course/01_first.ipynb").write_text("mine")
    (project / "course/own_notes.ipynb").write_text("notes")
    (project / "course/00_tour.ipynb").unlink()
    report = setup.copy_lessons(project, fresh=True)
    assert (project / "course/01_first.ipynb").read_text() == "original 01_first.ipynb"
    assert (project / "course/00_tour.ipynb").exists()
    assert (project / "course/own_notes.ipynb").read_text() == "notes"
    assert [(project / name).read_text() for name in report["aside"]] == ["mine"]
    assert not setup.copy_lessons(project, fresh=True)["aside"]


def test_two_fresh_starts_keep_both(setup, project, monkeypatch):
    monkeypatch.setattr(setup.time, "strftime", lambda _: "now")
    setup.copy_lessons(project)
    for text in ("first", "second"):
        (project / "course/01_first.ipynb").write_text(text)
        setup.copy_lessons(project, fresh=True)
    assert sorted(path.read_text() for path in (project / "course/_mine").rglob("*.ipynb")) == ["first", "second"]


def test_a_removed_lesson_goes_unless_it_was_changed(setup, project):
    setup.copy_lessons(project)
    (project / "course/01_first.ipynb").write_text("mine")
    (project / "nbs/01_first.ipynb").unlink()
    (project / "nbs/00_tour.ipynb").unlink()
    setup.copy_lessons(project)
    assert not (project / "course/00_tour.ipynb").exists()
    assert (project / "course/01_first.ipynb").read_text() == "mine"


# --- JupyterLab and the command line -----------------------------------------------------------------------------

def test_lab_command(setup, monkeypatch):
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0, raising=False)
    command = setup.lab_command("python", "course", "00_tour.ipynb", browser=False)
    assert {"--no-browser", "--allow-root", "--LabApp.default_url=/lab/tree/00_tour.ipynb"} <= set(command)
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000, raising=False)
    assert not {"--no-browser", "--allow-root"} & set(setup.lab_command("python", "course"))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="a screen is always there")
def test_a_screen_is_looked_for(setup, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not setup.has_screen()
    monkeypatch.setenv("DISPLAY", ":0")
    assert setup.has_screen()


def test_problems_end_in_one_sentence(setup, monkeypatch, capsys):
    def fail():
        raise setup.Problem("what, where, remedy")
    monkeypatch.setattr(setup, "make_env", fail)
    assert setup.main(["env"]) == 1
    assert "STOPPED. what, where, remedy" in capsys.readouterr().out
    assert setup.main(["unknown"]) == 2
