"""The registry: a word finds its code, only words of the lists do, and a module is loaded when it is asked for."""
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from expr_course import registry
from expr_course.registry import NETWORKS, PARTS, TASKS, find_network, find_part, find_task, look_up

FINDERS = {"task": (find_task, TASKS), "network": (find_network, NETWORKS), "part": (find_part, PARTS)}
NOTEBOOK_WORLD = ("matplotlib", "ipywidgets", "IPython", "anywidget", "voila", "jupyterlab")


def ask(code):
    """What a fresh Python prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("what", FINDERS)
def test_every_entry_exists(what):
    find, table = FINDERS[what]
    for name, where in table.items():
        module, attribute = where.split(":")
        assert find(name).__name__ == attribute and find(name).__module__ == f"expr_course.{module}", name


def test_tasks_take_settings_a_folder_and_whether_to_resume():
    for name in TASKS:
        assert list(inspect.signature(find_task(name)).parameters) == ["settings", "out", "resume"], name


def test_networks_are_modules_that_a_file_can_build():
    for name in NETWORKS:
        assert issubclass(find_network(name), torch.nn.Module) and find_network(name).__name__ == name


@pytest.mark.parametrize("what", FINDERS)
@pytest.mark.parametrize("name", ["os:system", "", "training.command:demo", "expr_course.training.command", "DEMO"])
def test_other_words_are_refused_and_the_known_ones_listed(what, name):
    find, table = FINDERS[what]
    with pytest.raises(ValueError, match=f"unknown {what} {name!r}: this package has") as caught:
        find(name)
    assert all(known in str(caught.value) for known in table)


def test_nothing_is_imported_for_a_refused_word():
    before = set(sys.modules)
    with pytest.raises(ValueError, match="unknown task"):
        find_task("xmlrpc.server:SimpleXMLRPCServer")
    assert set(sys.modules) == before


def test_the_registry_alone_loads_nothing():
    loaded = ask("import json, sys, expr_course.registry\nprint(json.dumps(sorted(sys.modules)))")
    assert [name for name in loaded if name.startswith("expr_course")] == ["expr_course", "expr_course.registry"]
    assert not {"torch", "numpy", "PIL"} & set(loaded)


def test_a_module_is_loaded_when_it_is_asked_for():
    steps = ask(
        "import json, sys\nfrom expr_course.registry import find_network\n"
        "def inside(): return [m for m in ('training.command', 'networks.msf', 'parsing.bisenet')"
        " if f'expr_course.{m}' in sys.modules]\n"
        "print(json.dumps([inside(), find_network('MSFUNet').__name__, inside()]))"
    )
    assert steps == [[], "MSFUNet", ["networks.msf"]]


def test_a_training_does_without_the_notebook_world():
    """Every task of the table is found as if no Jupyter were installed."""
    blocked = "".join(f"sys.modules[{world!r}] = None\n" for world in NOTEBOOK_WORLD)
    code = (f"import json, sys\n{blocked}from expr_course.registry import TASKS, find_task\n"
            "print(json.dumps([name for name in TASKS if callable(find_task(name))]))")
    assert ask(code) == list(TASKS)


def test_a_person_may_add_what_is_no_string(monkeypatch):
    monkeypatch.setitem(TASKS, "mine", max)
    assert find_task("mine") is max
    with pytest.raises(ValueError, match="unknown judge 'b': this package has a"):
        look_up("b", {"a": min}, "judge")


def test_no_other_module_imports_by_name():
    """Modules are named in strings here and nowhere else."""
    package = Path(registry.__file__).parent
    users = [path.relative_to(package).as_posix() for path in package.rglob("*.py")
             if "import_module(" in path.read_text(encoding="utf-8")]
    assert users == ["registry.py"]
