"""What README.md promises works: its commands run, its example runs, its links lead somewhere, its table is the
lessons'."""
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import door
import pytest
from lessons import NBS, ROOT, lessons, module_file, notebooks, parts, prose_cells, read

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"<!-- run -->\n```bash\n(.*?)```", README, re.DOTALL)
EXAMPLES = re.findall(r"^```python\n(.*?)```", README, re.DOTALL | re.MULTILINE)
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def run(command, folder):
    environment = dict(os.environ, PYTHONPATH=str(ROOT), EXPR_PROFILE="smoke", HF_HUB_OFFLINE="1")
    environment["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def need(modules):
    """Skip while a module that the README already names is not written."""
    missing = [module for module in modules if not module_file(module).is_file()]
    if missing:
        pytest.skip(f"not written yet: {missing}")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: text.strip()[:30])
def test_commands(command, tmp_path):
    need(target.split(":")[0].removeprefix("expr_course.") for script, target in SCRIPTS.items() if script in command)
    run(["bash", "-e", "-c", command], tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("\n")[0][:30])
def test_examples(example, tmp_path):
    need(re.findall(r"from expr_course\.([\w.]+)", example))
    run([sys.executable, "-c", example], tmp_path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_named_commands_exist(script, tmp_path):
    need([SCRIPTS[script].split(":")[0].removeprefix("expr_course.")])
    assert f"`{script}" in README
    run([script, "--help"], tmp_path)


def test_named_make_targets_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = README + "".join(cell.source for path in notebooks() for cell in prose_cells(read(path)))
    named = set(re.findall(r"`make ([a-z][a-z0-9-]*)", text)) | set(
        re.findall(r"^make ([a-z][a-z0-9-]*)", text, re.MULTILINE)
    )
    assert {"course", "test"} <= named <= targets


def test_the_door_is_made_from_the_lessons():
    """Tables of README.md, the index and the parts, and each lesson's path line, say what the lessons say."""
    index = "\n".join(cell.source for cell in prose_cells(read(NBS / "index.ipynb")))
    for text, start in ((README, ROOT), (index, NBS)):
        assert "<!-- parts -->" in text and "<!-- short path -->" in text
        assert door.with_tables(text, start) == text, "run make map"
    for folder in parts():
        assert (folder / "README.md").read_text(encoding="utf-8") == door.part_page(folder), "run make map"
    for path in lessons():
        first = read(path).cells[0].source
        assert door.with_path_line(first, path) == first, f"{path.name}: run make map"


def test_every_lesson_is_on_a_path():
    """The short path is about ten lessons long and eight hours wide, in the order of the course; everybody has a
    neighbour."""
    steps = door.short_path()
    assert 9 <= len(steps) <= 13 and 4 <= sum(map(door.minutes, steps)) / 60 <= 8
    assert [path.name for path in steps] == sorted(path.name for path in steps)
    assert all(any(door.neighbours(path)) for path in lessons())


LINK = re.compile(r"(?<!`)\]\((?!https?://|mailto:|#|attachment:)([^)#\s]+)")


@pytest.mark.parametrize("path", [ROOT / "README.md"] + notebooks(), ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = README if path.suffix == ".md" else "\n".join(cell.source for cell in prose_cells(read(path)))
    broken = [link for link in LINK.findall(text) if not (path.parent / link).exists()]
    assert not broken


def test_both_papers_are_cited():
    assert {"2004.03132", "2112.04603"} <= set(re.findall(r"arXiv:(\d+\.\d+)", README))
