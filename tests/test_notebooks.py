"""Notebooks are committed with outputs, and clean: nothing from this run or this machine stays in them."""
import json
import re
import sys
import tempfile
from pathlib import Path

import pytest
from lessons import ROOT, code_cells, is_noise, name_of, notebooks, read

MIB = 2**20
PRIVATE = re.compile(r"/home/\w|/Users/\w|[A-Z]:\\\\?Users|site-packages|/ipykernel_\d")
HERE = [str(ROOT), str(Path.home()) + "/", sys.prefix, tempfile.gettempdir() + "/"]


@pytest.fixture(params=notebooks(), ids=name_of)
def path(request):
    return request.param


def outputs(nb):
    return [output for cell in code_cells(nb) for output in cell.outputs]


def test_clean(path):
    nb = read(path)
    assert "widgets" not in nb.metadata, "metadata.widgets is stored"
    for cell in code_cells(nb):
        assert cell.execution_count is None, f"execution count in: {cell.source[:60]!r}"
        assert not cell.metadata, f"metadata {dict(cell.metadata)} in: {cell.source[:60]!r}"
    for output in outputs(nb):
        assert output.get("execution_count") is None
        assert output.output_type != "error", f"an error is stored: {output.get('evalue')}"
        assert not is_noise(output), f"stderr or a widget view is stored: {str(output)[:200]}"


def test_no_machine_paths(path):
    text = [cell.source for cell in read(path).cells]
    text += [json.dumps(value) for output in outputs(read(path)) for mime, value in printed(output)]
    for piece in text:
        found = PRIVATE.search(piece)
        assert not found, f"a path of one machine: {piece[max(0, found.start() - 40):found.end() + 40]!r}"
        assert not [place for place in HERE if place in piece], f"a path of this machine in {piece[:300]!r}"


def printed(output):
    """The (kind, text) pairs of an output that a person reads; pictures are left out."""
    return [
        item
        for item in {"text": output.get("text", ""), **output.get("data", {})}.items()
        if not item[0].startswith("image/")
    ]


def test_outputs_are_there(path):
    """A lesson whose cells show something is stored with what they show."""
    nb = read(path)
    shows = [
        cell
        for cell in code_cells(nb)
        if re.search(r"\bprint\(|\bshow\w*\(|\bdisplay\(", cell.source) and "#| export" not in cell.source
    ]
    assert not shows or outputs(nb), f"no outputs: run make lessons LESSONS={name_of(path)}"


def test_no_shell(path):
    """A failing shell line passes unseen, and does not work on every system."""
    for cell in code_cells(read(path)):
        assert not re.search(r"^\s*(!|%%?(bash|sh|system)\b|%pip\b|%conda\b)", cell.source, re.MULTILINE), cell.source


def test_size(path):
    assert path.stat().st_size <= 2 * MIB, f"{path.stat().st_size / MIB:.1f} MiB; smaller or fewer pictures, please"


def test_sizes_together():
    assert sum(path.stat().st_size for path in notebooks()) <= 15 * MIB
