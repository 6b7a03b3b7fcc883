"""A lesson, and a module it exports, uses only what this lesson or an earlier one made: the course can be read in
order.

The cells of 02a may show a finished face, which 02n makes; what 02a exports may not use it."""
import ast

import pytest
from lessons import PACKAGE, code_cells, lessons, module_file, modules_of, name_of, owners, parse, read


def package_imports(tree, package=()):
    """Modules of expr_course that a syntax tree imports, wherever in it: as 'faces.render'. package: where the tree
    lives."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = list(("expr_course",) + package)
            base = above[: len(above) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [base + [alias.name] for alias in node.names]
        else:
            continue
        for parts in names:
            if parts[0] == "expr_course" and len(parts) > 1:
                yield ".".join(parts[1:])


def owner_of(name, owned):
    """The lesson that owns the module that `name`, a module or something in one, lives in. None for the bare
    package."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in owned:
            return owned[".".join(parts[:end])]
    # a package made of several modules
    inside = [owned[module] for module in owned if module.startswith(parts[0] + ".")]
    return max(inside, key=lambda path: path.name) if inside else None


@pytest.fixture(scope="module")
def owned():
    return owners()


@pytest.mark.parametrize("path", lessons(), ids=name_of)
def test_only_earlier_lessons(path, owned):
    used, shown = set(), set()
    for module in modules_of(path):
        tree = ast.parse(module_file(module).read_text(encoding="utf-8"))
        used |= set(package_imports(tree, tuple(module.split(".")[:-1])))
    if not path.name.startswith("00"):  # the tour shows everything
        shown = {name for cell in code_cells(read(path)) for name in package_imports(parse(cell.source))}
    for name in sorted(used | shown):
        owner = owner_of(name, owned)
        if name not in used and owner and owner.name[:2] == path.name[:2]:
            continue  # the parts of one lesson may show what they lead to
        assert owner is not None or (PACKAGE / name.split(".")[0]).is_dir(), (
            f"{path.name} imports {name}, which no lesson exports"
        )
        assert owner is None or owner.name <= path.name, (
            f"{path.name} imports {name}, which is made later, in {owner.name}"
        )


def test_reads_every_way_to_import():
    source = (
        "import expr_course.networks.unet\nfrom expr_course.networks.msf import A\nfrom expr_course import plots\n"
        "from .faces import b\ndef f():\n    from . import data"
    )
    assert set(package_imports(ast.parse(source))) == {"networks.unet", "networks.msf.A", "plots", "faces.b", "data"}
    inside = ast.parse("from ..action_units import AUS\nfrom .frame import FRAME")
    assert set(package_imports(inside, ("faces",))) == {"action_units.AUS", "faces.frame.FRAME"}


DOOR = {"action_units", "plots", "device", "doctor", "files", "registry", "widgets", "scale"}
ORDER = ("faces", "data", "training", "measuring", "networks", "editing", "parsing", "hierarchy", "photos", "editor")


def rooms_used(path):
    """The parts of the package that a module imports, wherever in it."""
    package = path.relative_to(PACKAGE).parts[:-1]
    names = package_imports(ast.parse(path.read_text(encoding="utf-8")), package)
    return {name.split(".")[0] for name in names} & set(ORDER)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_data_flows_one_way(path):
    """faces -> data -> training -> ... -> editor, never back; what stands at the door needs no room, but the doctor may
    look."""
    room = path.relative_to(PACKAGE).parts[0]
    later = set(ORDER[ORDER.index(room) + 1:]) if room in ORDER else set(ORDER)
    assert room in ORDER or room.removesuffix(".py") in DOOR | {"__init__", "_modidx"}
    assert not rooms_used(path) & later
