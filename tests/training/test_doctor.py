"""expr-doctor: starts anywhere, judges facts, names remedies (lesson 05i)."""
import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from expr_course import doctor
from expr_course.doctor import (Check, diagnose, machine_table, main, number, probe, read_requirement,
                                suggest_profile)

SOURCE = Path(doctor.__file__)
HEALTHY = dict(
    python="3.12.1", executable="/usr/bin/python", platform="Linux", machine="x86_64", cores=8, memory=16.0, disk=50.0,
    nvidia=False, browser="/usr/bin/chromium", profile="",
    torch=dict(version="2.14.1", built_for_cuda=None, mps=False, gpus=[]), torchvision=dict(version="0.29.1"),
    packages=[("", "torch", (2, 11), "2.14.1"), ("lab", "voila", (), "0.5.13")],
)


def levels(**changes):
    return {c.name: c for c in diagnose(HEALTHY | changes)}


def test_imports_only_the_standard_library():
    tree = ast.parse(SOURCE.read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {n.split(".")[0] for n in names} <= sys.stdlib_module_names
    init = ast.parse((SOURCE.parent / "__init__.py").read_text())
    assert not [n for n in ast.walk(init) if isinstance(n, (ast.Import, ast.ImportFrom))]


def test_starts_without_any_package():
    """The doctor itself runs without site-packages, so without torch; the processes that it starts find torch, and that
    it works."""
    path = f"import sys; sys.path.insert(0, {str(SOURCE.parents[1])!r})"
    code = f"{path}; from expr_course.doctor import main; sys.exit(main(['--json']))"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert found["facts"]["python"] and found["profile"] in ("smoke", "cpu", "gpu") and not done.stderr
    levels = {c["name"]: c["level"] for c in found["checks"]}
    assert levels["torch"] == levels["torchvision"] == "ok", (
        "torch and torchvision work here, or the tests could not run"
    )


@pytest.mark.parametrize("illness, words", [
    ("raise ImportError('libc10.so is missing')", "libc10.so is missing"),
    ("import os; os.abort()", "the process ended with code -6"),
])
def test_starts_where_torch_is_broken(tmp_path, illness, words):
    (tmp_path / "torch.py").write_text(illness)
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCE.parents[1]}"}
    command = [sys.executable, "-m", "expr_course.doctor"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and not done.stderr
    assert "FAIL  torch " in done.stdout and words in done.stdout and "--force-reinstall torch" in done.stdout
    assert "torchvision    " not in done.stdout and "suits this machine" in done.stdout


def test_healthy():
    assert {c.level for c in diagnose(HEALTHY)} == {"ok"} and suggest_profile(HEALTHY) == "cpu"


def test_mismatched_torchvision():
    check = levels(torchvision={"error": "RuntimeError: operator torchvision::nms does not exist"})["torchvision"]
    assert (
        check.level == "fail"
        and "nms does not exist" in check.found
        and "torchvision==0.29.*" in check.remedy
        and "same index" in check.remedy
    )
    older = levels(torch=HEALTHY["torch"] | {"version": "2.11.0+cpu"}, torchvision={"error": "x"})["torchvision"]
    assert "torchvision==0.26.*" in older.remedy


def test_broken_torch_hides_nothing_else():
    found = levels(torch={"error": "ImportError: libc10.so"}, torchvision={"error": "x"})
    assert (
        found["torch"].level == "fail"
        and "libc10" in found["torch"].found
        and "torchvision" not in found
        and found["profile"].level == "ok"
    )


@pytest.mark.parametrize("changes, name, level, words", [
    (dict(python="3.10.4"), "Python", "fail", "3.11, 3.12 or 3.13"),
    (dict(python="3.14.0"), "Python", "fail", "3.13"),
    (dict(memory=2.0), "memory", "note", "smoke"),
    (dict(disk=0.5), "disk", "note", "free some space"),
    (dict(profile="big"), "EXPR_PROFILE", "fail", "smoke, cpu or gpu"),
    (dict(browser=None), "browser", "note", "chromium"),
    (dict(nvidia=True), "CUDA", "note", "built without CUDA"),
    (dict(nvidia=True, torch=HEALTHY["torch"] | {"built_for_cuda": "13.0"}), "CUDA", "note", "driver"),
    (dict(packages=[]), "expr_course", "fail", "pip install -e"),
    (dict(packages=[("lab", "voila", (), None)]), "extra [lab]", "note", r".[lab]"),
    (dict(packages=[("", "kornia", (0, 9), "0.7.1")]), "packages", "fail", "pip install"),
])
def test_findings(changes, name, level, words):
    check = levels(**changes)[name]
    assert check.level == level and words in check.remedy


def test_suggested_profile():
    def gpus(memory):
        return HEALTHY | {"torch": HEALTHY["torch"] | {"gpus": [["a GPU", memory]]}}
    assert suggest_profile(gpus(24)) == "gpu" and suggest_profile(gpus(4)) == "cpu"
    assert suggest_profile(HEALTHY | {"memory": 2}) == suggest_profile(HEALTHY | {"disk": 1}) == "smoke"
    assert suggest_profile(HEALTHY | {"memory": None, "torch": {"error": "x"}}) == "cpu"


def test_probe_survives_errors_crashes_and_silence():
    assert probe("print('{\"a\": 1}')") == {"a": 1}
    assert "ZeroDivisionError" in probe("1/0")["error"]
    assert "code -6" in probe("import os; os.abort()")["error"]
    assert "no answer" in probe("import time; time.sleep(9)", timeout=0.5)["error"]


def test_versions_and_requirements():
    assert number("2.14.1+cu130") == (2, 14, 1) and number("0.9") == (0, 9)
    extra, name, least, here = read_requirement("torch>=2.11")
    assert (extra, name, least) == ("", "torch", (2, 11)) and here
    assert read_requirement("no-such-package>=1.0; extra == 'lab'") == ("lab", "no-such-package", (1, 0), None)
    assert read_requirement('fastcore<2; extra == "dev"')[:3] == ("dev", "fastcore", ())


def test_table_and_exit_code(monkeypatch, capsys):
    text = machine_table([Check("x", "fail", "broken", "mend it"), Check("y", "ok", "fine")])
    assert [line.split() for line in text.splitlines()] == [
        ["FAIL", "x", "broken"], ["->", "mend", "it"], ["ok", "y", "fine"]]
    monkeypatch.setattr(doctor, "examine_machine", lambda: HEALTHY)
    assert main([]) == 0 and "cpu suits" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "examine_machine", lambda: HEALTHY | {"torchvision": {"error": "x"}})
    assert main(["--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [c["name"] for c in found["checks"] if c["level"] == "fail"] == ["torchvision"]
