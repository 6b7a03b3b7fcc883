"""Paper equation to line of code: each id stands in the prose, in the table, and in the docstring of what implements
it."""
import ast
import re

import pytest
from lessons import PACKAGE, lessons, module_file, modules_of, name_of, prose_cells, read

ID = re.compile(r"\bEq\.\s?([LCH]\d+)\b")
ROW = re.compile(r"^\|\s*(?:Eq\.\s?)?`?([LCH]\d+)`?\s*\|.*\|([^|]*)\|\s*$", re.MULTILINE)
NAME = re.compile(r"`([A-Za-z_][\w.]*)")


def split(nb):
    """(the prose outside the Equations section, the section)."""
    text = "\n\n".join(cell.source for cell in prose_cells(nb))
    before, _, rest = text.partition("\n## Equations")
    section, _, after = rest.partition("\n## ")
    return before + after, section


def docstrings(file):
    """{name of a function or class, methods as Class.method: its docstring}."""
    found = {}

    def visit(node, prefix):
        for child in getattr(node, "body", []):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                found[prefix + child.name] = ast.get_docstring(child) or ""
                visit(child, prefix + child.name + ".")

    visit(ast.parse(file.read_text(encoding="utf-8")), "")
    return found


def all_docstrings():
    return [item for file in PACKAGE.rglob("*.py") for item in docstrings(file).items()]


@pytest.fixture(params=lessons(), ids=name_of)
def path(request):
    return request.param


def test_table(path):
    prose, section = split(read(path))
    assert section.strip(), "a table, or one sentence that says that there are none"
    for equation, code in ROW.findall(section):
        assert equation in ID.findall(prose), f"Eq. {equation} stands in the table and not in the prose"
        names = [name.split(".")[-1] for name in NAME.findall(code)]
        assert names, f"Eq. {equation}: the table names no code"
        named = [doc for name, doc in all_docstrings() if name.split(".")[-1] in names]
        assert any(equation in ID.findall(doc) for doc in named), f"Eq. {equation}: no docstring of {names} names it"


def test_docstrings_are_in_the_table(path):
    _, section = split(read(path))
    table = {equation for equation, _ in ROW.findall(section)}
    for module in modules_of(path):
        for name, doc in docstrings(module_file(module)).items():
            missing = set(ID.findall(doc)) - table
            assert not missing, (
                f"{module}.{name} implements {sorted(missing)}, which the lesson's Equations table lacks"
            )
