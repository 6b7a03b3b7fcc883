"""The package is what nbdev exports from the lessons: nobody edited it by hand, nobody forgot to export."""
import shutil
import subprocess
import sys
from pathlib import Path

from lessons import NBS, PACKAGE, ROOT, lessons, module_file, modules_of

LONGEST = 300


def python_files(package):
    return {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}


def test_export_is_in_sync(tmp_path):
    shutil.copy(ROOT / "settings.ini", tmp_path)
    shutil.copytree(NBS, tmp_path / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "images", "results"))
    (tmp_path / "expr_course").mkdir()
    for init in PACKAGE.rglob("__init__.py"):  # may be written by hand, so they are given
        (tmp_path / init.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        shutil.copy(init, tmp_path / init.relative_to(ROOT))
    done = subprocess.run(
        [Path(sys.executable).with_name("nbdev_export")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ours, exported = python_files(PACKAGE), python_files(tmp_path / "expr_course")
    assert set(ours) - set(exported) == set(), "no lesson exports these modules: remove them"
    assert set(exported) - set(ours) == set(), "not exported yet: run make export"
    different = [name for name in ours if ours[name] != exported[name]]
    assert not different, f"lessons and package differ in {different}: edit the lesson, then run make export"


def test_a_module_has_one_owner():
    owned = [module for path in lessons() for module in modules_of(path)]
    assert len(owned) == len(set(owned)), "two lessons export the same module"


def test_modules_are_short():
    lengths = {name: len(text.splitlines()) for name, text in python_files(PACKAGE).items() if name != "_modidx.py"}
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST}


def test_owned_modules_exist():
    missing = [module for path in lessons() for module in modules_of(path) if not module_file(module).is_file()]
    assert not missing, f"not exported yet: {missing}, run make export"
