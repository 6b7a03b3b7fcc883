"""What the tests know about lessons: where they are, which modules they own, how to run one in a fresh kernel.

    python tests/lessons.py                      run every lesson and solution, store the cleaned outputs (make lessons)
    python tests/lessons.py 01_action_units ...  only these
    python tests/lessons.py --check NAME         run one in a scratch copy and store nothing (what the tests do)
    python tests/lessons.py --map                write the table of lessons into README.md and nbs/index.ipynb (make
    map)
"""
import ast
import asyncio
import base64
import io
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from PIL import Image, ImageChops, ImageStat

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
PACKAGE = ROOT / "expr_course"


# --- finding and reading -----------------------------------------------------------------------------------------

def parts():
    """The folders of the nine parts, in course order: `1-faces`, `2-data`, ..."""
    return sorted(path for path in NBS.glob("[0-9]-*") if path.is_dir())


def numbered(folders):
    """The numbered notebooks of some folders, by number: the tour first, then part by part."""
    return sorted((path for folder in folders for path in folder.glob("[0-9][0-9]*.ipynb")), key=lambda path: path.name)


def lessons():
    """The numbered lessons, in course order: those at the door (the tour) and those of the nine parts."""
    return numbered([NBS, *parts()])


def solutions():
    """The notebooks with the exercises' solutions, in each part's folder `solutions`."""
    return numbered(folder / "solutions" for folder in [NBS, *parts()])


def find(name):
    """The notebook that a person calls `1-faces/01_action_units`, `01_action_units` or
    `nbs/1-faces/01_action_units.ipynb`."""
    name = name.removesuffix(".ipynb").removeprefix("nbs/")
    found = [
        path
        for path in notebooks()
        if name in (name_of(path), path.stem) and ("solutions" in name or path.parent.name != "solutions")
    ]
    if not found:
        raise SystemExit(f"there is no notebook {name!r}; names look like {name_of(lessons()[1])}")
    return found[0]


def notebooks():
    """Everything that must run: the index, the lessons, the solutions."""
    return [path for path in [NBS / "index.ipynb"] if path.is_file()] + lessons() + solutions()


def name_of(path):
    """`1-faces/01_action_units` or `1-faces/solutions/01_action_units`."""
    return path.relative_to(NBS).with_suffix("").as_posix()


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def prose_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "markdown"]


def parse(source):
    """The syntax tree of a cell, IPython's % lines left out."""
    return ast.parse("\n".join(line for line in source.split("\n") if not line.lstrip().startswith("%")))


# --- which lesson owns which module ------------------------------------------------------------------------------

EXPORT = re.compile(r"^\s*#\s*\|\s*(?:default_exp|exporti?|exports)[ \t]+([\w.]+)\s*$", re.MULTILINE)


def modules_of(path):
    """Modules that a lesson exports, as `unet` or `faces.render`."""
    return sorted({module for cell in code_cells(read(path)) for module in EXPORT.findall(cell.source)})


def owners():
    """{module: the lesson that owns it}."""
    return {module: path for path in lessons() for module in modules_of(path)}


def module_file(module):
    """The file of an exported module."""
    plain = PACKAGE.joinpath(*module.split("."))
    return plain / "__init__.py" if (plain / "__init__.py").is_file() else plain.with_suffix(".py")


# --- running -----------------------------------------------------------------------------------------------------

SWALLOW = {"02p_widgets"}  # shows on purpose how a widget swallows an error

STRICT = '''
def _strict():
    """Make widget errors visible and the network unreachable, in this kernel only."""
    import socket, sys
    from IPython import get_ipython
    from ipywidgets.widgets import interaction, widget, widget_output

    class Raising:
        "Stands in for IPython where ipywidgets would show an error of a callback and go on: it is raised."
        def __getattr__(self, name): return getattr(get_ipython(), name)
        def showtraceback(self, exc=None, **_): raise (exc[1] if exc else sys.exc_info()[1])

    for module in (interaction, widget, widget_output): module.get_ipython = Raising

    connect = socket.socket.connect
    def connect_here(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise ConnectionError(f"a lesson must not use the network, and this one asked for {address[0]}")
        return connect(self, address)
    socket.socket.connect = connect_here
_strict(); del _strict
'''


def scratch_copy(path, folder):
    """A copy of one notebook and of all that is no notebook (pictures, recorded runs), laid out as in nbs."""
    copy = Path(folder) / "nbs"
    shutil.copytree(NBS, copy, ignore=shutil.ignore_patterns("*.ipynb", ".*", "__pycache__"))
    target = copy / path.relative_to(NBS)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return target


def run(path, seconds=None):
    """Run a notebook in a fresh kernel, in its own folder. Returns it with cleaned outputs; raises what `execute`
    does."""
    return clean(execute(path, seconds))


def execute(path, seconds=None):
    """`run` without the cleaning, which is work for nothing where outputs are not kept. Raises nbclient's
    CellExecutionError.

    seconds: TimeoutError where the whole notebook takes longer (None: no limit); its kernel is ended before that is
    raised.
    """
    from jupyter_core.utils import run_sync
    from nbclient import NotebookClient

    nb = read(path)
    strict = STRICT.replace("(interaction, widget, widget_output)", "()") if path.stem in SWALLOW else STRICT
    nb.cells.insert(0, nbformat.v4.new_code_cell(strict))
    client = NotebookClient(nb, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}})
    run_sync(all_cells)(client, seconds)
    nb.cells.pop(0)
    return nb


async def all_cells(client, seconds):
    """Let nbclient's `client` run all cells, for at most so many seconds."""
    running = asyncio.ensure_future(client.async_execute())
    done, _ = await asyncio.wait([running], timeout=seconds)
    if not done:
        client.shutdown_kernel = "immediate"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)  # nbclient ends the kernel and all that it started
        raise TimeoutError(f"not done after {seconds} s")
    running.result()


def clean(nb):
    """Drop what a run leaves behind and no reader needs: counts, times, widget state and views, stderr."""
    for cell in code_cells(nb):
        cell["execution_count"], cell["metadata"] = None, {}
        cell["outputs"] = [output for output in cell.outputs if not is_noise(output)]
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = None
            if "data" in output:
                output["data"] = lighten(output["data"])
    for key in ("widgets", "language_info"):
        nb.metadata.pop(key, None)
    return nb


def lighten(data):
    """The outputs of one result with the lightest form of its picture: PNG as it came, with 64 colours (plots), or JPEG
    where shading makes PNG heavy."""
    kept = {mime: content for mime, content in data.items() if not mime.startswith("image/")}
    forms = {mime: base64.b64decode(data[mime]) for mime in ("image/png", "image/jpeg") if mime in data}
    if not forms:
        return data
    png = forms.get("image/png", b"")
    if len(png) >= 8_000:
        picture, few, photo = Image.open(io.BytesIO(png)), io.BytesIO(), io.BytesIO()
        if picture.mode != "P":
            whole = picture.convert("RGB")
            poor = whole.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            poor.save(few, "PNG", optimize=True)
            lost = sum(ImageStat.Stat(ImageChops.difference(whole, poor.convert("RGB"))).mean) / 3
            if few.tell() < 0.8 * len(png) and lost < 1.5:
                forms["image/png"] = few.getvalue()
        picture.convert("RGB").save(photo, "JPEG", quality=60, optimize=True, progressive=True)
        if len(png) >= 20_000 and photo.tell() < 0.85 * len(forms["image/png"]):
            forms["image/jpeg"] = photo.getvalue()
    mime = min(forms, key=lambda mime: len(forms[mime]))
    return kept | {mime: base64.b64encode(forms[mime]).decode()}


def is_noise(output):
    """stderr, and widget views: stored, they read 'model not found'."""
    return output.get("name") == "stderr" or any("widget" in mime for mime in output.get("data", {}))


def store(nb, path):
    part = path.with_name(path.name + ".part")
    nbformat.write(nb, part)
    os.replace(part, path)


def main(arguments):
    check = "--check" in arguments
    names = [argument for argument in arguments if argument != "--check"]
    os.environ.setdefault("EXPR_PROFILE", "smoke")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT)] + [p for p in [os.environ.get("PYTHONPATH")] if p])
    for path in [find(name) for name in names] or notebooks():
        start = time.time()
        with tempfile.TemporaryDirectory() as folder:
            nb = run(scratch_copy(path, folder))
        if not check:
            store(nb, path)
        print(f"{name_of(path)}: {time.time() - start:.0f} s at {os.environ['EXPR_PROFILE']}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
