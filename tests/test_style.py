"""The house is clean: linted, one statement a line, one name for one thing, no module hidden in a string."""
import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from lessons import PACKAGE, ROOT, code_cells, name_of, notebooks, parse, read

LONGEST = 120
HAND_WRITTEN = [*sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "data_scripts").glob("*.py"))]
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "_modidx.py"]


def test_lint():
    """ruff, with the settings of pyproject.toml."""
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [ruff, "check", "--no-cache", "nbs", "tests", "data_scripts", ".ci"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]


def is_guard(node, line):
    """`if x: return`, in one line: the one exception."""
    leaves = (ast.Return, ast.Raise, ast.Continue, ast.Break)
    return (
        isinstance(node, ast.If)
        and not node.orelse
        and isinstance(node.body[0], leaves)
        and line.lstrip().startswith("if ")
    )


def crowded(source):
    """The lines of some code on which a block's first statement follows a colon and that is no guard."""
    lines = source.split("\n")
    for node in ast.walk(parse(source)):
        for block in ("body", "orelse", "finalbody"):
            body = getattr(node, block, None)
            if isinstance(node, (ast.Module, ast.Lambda, ast.IfExp)) or not isinstance(body, list) or not body:
                continue
            line = lines[body[0].lineno - 1]
            before = line.encode()[: body[0].col_offset].decode().strip()
            if before.endswith(":") and not is_guard(node, line):
                yield line


def test_sees_what_is_crowded():
    assert not list(crowded("if x: return 1\nfor y in z:\n    y()"))
    assert len(list(crowded("if x: y = 1\nfor y in z: y()\ntry: a()\nexcept E: b()"))) == 4


@pytest.mark.parametrize("path", notebooks(), ids=name_of)
def test_one_statement_a_line_in_lessons(path):
    assert not [line for cell in code_cells(read(path)) for line in crowded(cell.source)]


@pytest.mark.parametrize("path", HAND_WRITTEN, ids=lambda path: path.name)
def test_one_statement_a_line_in_tests(path):
    assert not list(crowded(path.read_text(encoding="utf-8")))


def test_no_long_lines_in_the_package():
    """What a lesson exports fits into 120 columns. (nbdev's own first line, the names in __all__, may not.)"""
    def too_long(path):
        lines = path.read_text(encoding="utf-8").split("\n")
        return sum(len(line) > LONGEST and not line.startswith("__all__ = ") for line in lines)
    assert not {path.name: too_long(path) for path in MODULES if too_long(path)}


def public_names(path):
    """Names that a module defines at its top level, without those that start with an underscore."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_one_name_for_one_thing():
    """A public name is defined once in the package; only `main`, which each command has, is not."""
    places = defaultdict(list)
    for path in MODULES:
        for name in public_names(path):
            if not name.startswith("_") and path.name != "__init__.py":
                places[name].append(path.relative_to(PACKAGE).as_posix())
    assert not {name: where for name, where in places.items() if len(where) > 1 and name != "main"}


IN_A_STRING = re.compile(r"""import_module\(|["']expr_course\.\w+[.:]|["'](?:\w+\.)+\w+:\w+["']""")


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "registry.py"], ids=lambda path: path.name)
def test_no_module_in_a_string(path):
    """What a string names, no reader and no tool finds: only `registry` may do it."""
    hidden = [line for line in path.read_text(encoding="utf-8").split("\n") if IN_A_STRING.search(line)]
    assert not hidden


def test_modules_say_what_they_are():
    """The first line of a module is one line: a noun phrase that says what the room is, a colon, the lesson's
    saying."""
    first = {
        path.relative_to(PACKAGE).as_posix(): (
            ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        ).split("\n")[0]
        for path in MODULES
        if path != PACKAGE / "__init__.py"
    }
    assert not {name: line for name, line in first.items() if not re.match(r"\w[^:]{2,60}: \S", line)}
