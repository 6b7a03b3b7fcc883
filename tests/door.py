"""The door of the course, made from the lessons: the two paths, the table of parts, the table of each part (make map).

    python tests/door.py     renew README.md, nbs/index.ipynb, nbs/<part>/README.md, and the path line of every lesson
"""
import ast
import os
import re
from pathlib import Path

from lessons import NBS, PACKAGE, ROOT, code_cells, lessons, parts, prose_cells, read, store

SHORT = (
    "00_tour", "01_action_units", "02n_drawing", "06a_metrics", "08_unet", "09_msf", "10a_gan_losses",
    "11a_relative_training", "13c_parsing_unet", "15d_local", "19g_editor",
)  # the short path, in order
LEAVE_WITH = {
    "faces": "a vocabulary for faces, v_rel = v_tgt − v_src, and a drawn face whose every muscle is known",
    "data": "one schema and one frame, for drawn faces and for real ones",
    "training": "a loop that can be trusted, exact resume, and a card for every weight",
    "measuring": "what an edit is worth, and which instrument sees what",
    "editing": "paper one: relative action units and multi-scale feature fusion, trained and measured",
    "parsing": "nineteen classes for every pixel, from drawings to photographs",
    "hierarchy": "paper two's forward pass: one global and several local generators, trained on exact pairs",
    "photos": "your own photograph and your own video, in and out again", "editor": "the tool, and how it is made",
}
WORDS, LINES, PICTURE = 130, 15, 0.3  # words and lines of code read with care in a minute; minutes for a picture


# --- what a lesson says of itself --------------------------------------------------------------------------------

def head(path):
    """(title, subtitle) of a lesson."""
    return re.match(r"# (.+?)\s*\n\s*> (.+)", prose_cells(read(path))[0].source).groups()


def number(path):
    return path.stem.split("_")[0]


def minutes(path):
    """How long a lesson reads, to the next five minutes: its words, its lines of code, its pictures."""
    nb = read(path)
    words = sum(len(cell.source.split()) for cell in prose_cells(nb) if not cell.source.startswith("**"))
    lines = sum(len(cell.source.splitlines()) for cell in code_cells(nb))
    pictures = sum("image/png" in output.get("data", {}) or "image/jpeg" in output.get("data", {})
                   for cell in code_cells(nb) for output in cell.outputs)
    return max(5, 5 * round((words / WORDS + lines / LINES + PICTURE * pictures) / 5))


def part_of(path):
    """`faces` for a lesson of `1-faces`; None at the door."""
    return None if path.parent == NBS else path.parent.name.split("-")[1]


def link(path, start, text=None):
    """A Markdown link to a notebook, from a file in the folder `start`."""
    return f"[{text or number(path) + ' ' + head(path)[0]}]({Path(os.path.relpath(path, start)).as_posix()})"


# --- the two paths -----------------------------------------------------------------------------------------------

def short_path():
    """The lessons of the short path that are written, in its order."""
    by_stem = {path.stem: path for path in lessons()}
    return [by_stem[stem] for stem in SHORT]


def neighbours(path):
    """(the lesson before, the lesson after) on the path of a lesson; None at an end."""
    road = short_path() if path in short_path() else [other for other in lessons() if other not in short_path()]
    k = road.index(path)
    return road[k - 1] if k else None, road[k + 1] if k + 1 < len(road) else None


def path_line(path):
    """The line of a lesson's first cell that says which path it is on, how long it reads, and what comes before and
    after there."""
    before, after = neighbours(path)
    steps = short_path()
    said = [f"**Short path, {steps.index(path) + 1} of {len(steps)}**" if path in steps else "**Workshop**"]
    said.append(f"{minutes(path)} minutes to read")
    said += [f"before: {link(before, path.parent)}"] if before else []
    said += [f"next: {link(after, path.parent)}"] if after else []
    return " · ".join(said)


PATH_LINE = re.compile(r"\n\n\*\*(?:Short path|Workshop).*", re.DOTALL)


def with_path_line(source, path):
    """The first cell of a lesson with its path line renewed."""
    return PATH_LINE.sub("", source.rstrip()) + "\n\n" + path_line(path)


# --- tables ------------------------------------------------------------------------------------------------------

def lesson_table(paths, start):
    """Lessons as rows: what each is about, and how long it reads. The short path's stand in bold."""
    rows = ["| lesson | what it is about | to read |", "|---|---|---|"]
    for path in paths:
        name = link(path, start)
        rows.append(
            f"| {'**' + name + '**' if path in short_path() else name} | {head(path)[1].strip().rstrip('.')} | "
            f"{minutes(path)} min |"
        )
    return "\n".join(rows)


def short_table(start):
    """The short path as a table."""
    rows = ["| | lesson | what it is about | to read |", "|---|---|---|---|"]
    for k, path in enumerate(short_path(), start=1):
        rows.append(f"| {k} | {link(path, start)} | {head(path)[1].strip().rstrip('.')} | {minutes(path)} min |")
    return "\n".join(rows)


def parts_table(start):
    """The parts as rows: lessons, package, what the reader leaves with."""
    rows = ["| part | lessons | package | you leave with |", "|---|---|---|---|"]
    for folder in parts():
        inside = [path for path in lessons() if path.parent == folder]
        name = folder.name.split("-")[1]
        packages = ["networks", name] if name == "editing" else [name]
        place = Path(os.path.relpath(folder, start)).as_posix()
        hours = sum(map(minutes, inside)) / 60
        rows.append(
            f"| [{folder.name}]({place}/README.md) | {number(inside[0])} to {number(inside[-1])}: {len(inside)} "
            "lessons, "
            f"{hours:.1f} h | {' '.join(f'`{package}/`' for package in packages)} | {LEAVE_WITH[name]} |"
        )
    return "\n".join(rows)


def part_page(folder):
    """The README.md of a part: what its package says of itself, its lessons, where to go on."""
    name = folder.name.split("-")[1]
    room = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text(encoding="utf-8"))).split("\n")[0]
    inside = [path for path in lessons() if path.parent == folder]
    return (
        f"# {folder.name}\n\n{room}\n\nYou leave with {LEAVE_WITH[name]}. Lessons of the short path stand in bold; the "
        "others are workshop: read them when you want to know how it is made. Solutions are in "
        "[solutions](solutions).\n\n"
        f"{lesson_table(inside, folder)}\n\nUp: [all parts](../index.ipynb)\n"
    )


MARKS = {"parts": parts_table, "short path": short_table}


def with_tables(text, start):
    """`text` with the tables between its marks renewed; links start in the folder `start`."""
    for name, table in MARKS.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text = marked.sub(lambda found, table=table: found[1] + table(start) + "\n" + found[2], text)
    return text


# --- writing -----------------------------------------------------------------------------------------------------

def write_all():
    for path in lessons():
        nb = read(path)
        renewed = with_path_line(nb.cells[0].source, path)
        if renewed != nb.cells[0].source:
            nb.cells[0].source = renewed
            store(nb, path)
    for folder in parts():
        (folder / "README.md").write_text(part_page(folder), encoding="utf-8")
    readme, index = ROOT / "README.md", NBS / "index.ipynb"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8"), ROOT), encoding="utf-8")
    nb = read(index)
    for cell in prose_cells(nb):
        cell.source = with_tables(cell.source, NBS)
    store(nb, index)


if __name__ == "__main__":
    write_all()
