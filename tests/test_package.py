"""Importing the package needs no network and no notebook tools; its training side needs no data tools either."""
import subprocess
import sys

import pytest
from lessons import PACKAGE, ROOT

NBDEV = ("nbdev", "fastcore", "execnb", "ghapi")
LAB = ("IPython", "ipywidgets", "anywidget", "matplotlib", "jupyterlab", "voila")
DATA = ("kornia", "datasets")
TRAINING = ("action_units", "device", "doctor", "files", "registry", "training", "networks", "parsing.labels",
            "parsing.scores", "parsing.unet", "parsing.bisenet")  # modules, or parts with all their modules

PROBE = """
import importlib, socket, sys, traceback
blocked, modules = sys.argv[1].split(","), sys.argv[2].split(",")
for name in blocked: sys.modules[name] = None   # as if it were not installed
def shut(*_): raise ConnectionError("the network is used at import")
socket.socket.connect = socket.getaddrinfo = shut
failed = 0
for module in modules:
    try: importlib.import_module(module)
    except Exception:
        failed = 1
        print(module, traceback.format_exc(limit=-3))
sys.exit(failed)
"""


def exported():
    files = [path.relative_to(PACKAGE).with_suffix("") for path in sorted(PACKAGE.rglob("*.py"))]
    names = [".".join(("expr_course",) + path.parts).removesuffix(".__init__") for path in files]
    return [name for name in names if not name.endswith("_modidx")]


def import_apart(modules, blocked, tmp_path):
    done = subprocess.run([sys.executable, "-c", PROBE, ",".join(blocked), ",".join(modules)], cwd=tmp_path, text=True,
                          env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def test_every_module_imports_without_nbdev_and_network(tmp_path):
    import_apart(exported(), NBDEV, tmp_path)


def test_training_imports_without_notebook_and_data_tools(tmp_path):
    wanted = [f"expr_course.{name}" for name in TRAINING]
    modules = [name for name in exported() if name in wanted or name.rpartition(".")[0] in wanted]
    assert set(wanted) <= set(modules), "a module of the list is gone"
    import_apart(modules, NBDEV + LAB + DATA, tmp_path)


def test_the_door_imports_without_torch(tmp_path):
    modules = ["expr_course", "expr_course.doctor", "expr_course.files", "expr_course.registry"]
    import_apart(modules, ("torch", "torchvision", "numpy", "PIL") + NBDEV, tmp_path)


def test_the_probe_sees_a_forbidden_import(tmp_path):
    with pytest.raises(AssertionError, match="nbdev"):
        import_apart(["nbdev"], NBDEV, tmp_path)
