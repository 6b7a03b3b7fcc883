"""Every lesson is built alike, so that a reader always knows where she is: the anatomy, measured."""
import ast
import re
import statistics

import pytest
from lessons import code_cells, lessons, modules_of, name_of, parse, prose_cells, read

CLOSING = ["When it goes wrong", "Summary", "Equations", "Questions", "Exercises", "Further reading"]
ITEM = re.compile(r"^(?:[-*]|\d+[.)])\s+\S", re.MULTILINE)


@pytest.fixture(params=lessons(), ids=name_of)
def path(request):
    return request.param


@pytest.fixture
def nb(path):
    return read(path)


def sections(nb):
    """{heading of level two: its prose}, in order."""
    text = "\n\n".join(cell.source for cell in prose_cells(nb))
    parts = re.split(r"^## +(.+?) *$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def lines(cell):
    return len([line for line in cell.source.split("\n") if line.strip()])


def test_title(nb):
    assert nb.cells[0].cell_type == "markdown"
    title = r"# \S.*\n\n?> \S.*\n\n\*\*(Short path, \d+ of \d+|Workshop)\*\* · \d+ minutes to read.*"
    assert re.fullmatch(title, nb.cells[0].source.strip()), (
        "cell 1 is '# Title', a one-line '> subtitle', and the path line of make map"
    )


def test_objectives(nb):
    cell = nb.cells[1]
    assert cell.cell_type == "markdown" and cell.source.startswith("## What you will learn"), (
        "cell 2 is '## What you will learn'"
    )
    assert 3 <= len(ITEM.findall(cell.source)) <= 5, "3 to 5 objectives"
    assert re.search(r"^\*\*Prerequisites:\*\* \S", cell.source, re.MULTILINE)
    minutes = r"[\d.]+ min"
    assert re.search(rf"^\*\*Time:\*\* smoke {minutes} · cpu {minutes} · gpu {minutes}", cell.source, re.MULTILINE)


def test_closing_sections(nb):
    found = [heading for heading in sections(nb) if heading in CLOSING]
    assert found == CLOSING
    assert list(sections(nb))[-len(CLOSING):] == CLOSING, "nothing comes between or after the closing sections"
    assert all(sections(nb)[heading].strip() for heading in CLOSING)


def test_questions_and_exercises(nb, path):
    assert 5 <= len(ITEM.findall(sections(nb).get("Questions", ""))) <= 8, "5 to 8 questions"
    exercises = sections(nb).get("Exercises", "").strip()
    assert (
        2 <= len(ITEM.findall(exercises)) <= 4 or 2 <= len(re.findall(r"^(?:###|\*\*)", exercises, re.MULTILINE)) <= 4
    ), "2 to 4 exercises"
    assert f"[solutions](solutions/{path.name})" in exercises.split("\n")[-1]
    assert (path.parent / "solutions" / path.name).is_file(), "the solutions are missing"


def test_share_of_prose(nb):
    share = len(prose_cells(nb)) / len(nb.cells)
    assert share >= 0.4, f"{share:.0%} of the cells are prose; about half should be"


def test_code_cells_are_short(nb):
    sizes = sorted(lines(cell) for cell in code_cells(nb))
    ninth = sizes[int(0.9 * (len(sizes) - 1))]
    assert statistics.median(sizes) <= 8, f"the median code cell has {statistics.median(sizes)} lines"
    assert ninth <= 25, f"nine cells in ten should have at most 25 lines, here {ninth}"


def test_import_cells_only_import(nb):
    """nbdev runs import cells when it builds pages: work in them would be done there too."""
    for cell in code_cells(nb):
        body = [node for node in parse(cell.source).body if not is_docstring(node)]
        imports = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert not imports or len(imports) == len(body), f"imports and other code in one cell:\n{cell.source}"


def is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_exports_are_documented(path):
    """Every exported function and class says what it takes and gives."""
    for cell in code_cells(read(path)):
        if re.match(r"\s*#\s*\|\s*export", cell.source):
            for node in parse(cell.source).body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                    assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_tour_exports_nothing():
    for path in lessons():
        if path.name.startswith("00"):
            assert not modules_of(path)
