"""settings.ini is the truth, pyproject.toml mirrors it, constraints.txt satisfies both."""
import configparser
import re
import tomllib

import expr_course
import pytest
from lessons import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SETTINGS = configparser.ConfigParser(interpolation=None)
SETTINGS.read(ROOT / "settings.ini", encoding="utf-8")
INI = SETTINGS["DEFAULT"]
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, NBDEV = TOML["project"], TOML["tool"]["nbdev"]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)


def test_identity():
    assert PROJECT["name"] == INI["lib_name"]
    assert expr_course.__version__ == INI["version"] and "version" in PROJECT["dynamic"]
    assert PROJECT["description"] == INI["description"]
    assert PROJECT["keywords"] == INI["keywords"].split()
    assert PROJECT["authors"][0]["name"] == INI["author"]
    assert PROJECT["requires-python"] == ">=" + INI["min_python"]
    assert (PROJECT["license"], INI["license"]) == ("Apache-2.0", "apache2")
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_requirements():
    assert PROJECT["dependencies"] == INI["requirements"].split()
    extras = {
        key.removesuffix("_requirements"): value.split() for key, value in INI.items() if key.endswith("_requirements")
    }
    assert PROJECT["optional-dependencies"] == extras


def test_commands():
    assert PROJECT["scripts"] == dict(entry.split("=") for entry in INI["console_scripts"].split())


def test_nbdev_3_reads_the_same():
    for key, value in NBDEV.items():
        assert str(value).lower() == INI[key].lower(), key
    assert INI["update_pyproject"] == "False" and INI["doc_host"] == INI["git_url"] == "" and INI["doc_baseurl"] == "/"


@pytest.mark.parametrize("extra", [None, "lab", "dev", "export"])
def test_constraints_are_within_the_requirements(extra):
    pins = {canonicalize_name(name): version for name, version in PINS.items()}
    for line in PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]:
        requirement = Requirement(line)
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, (
            f"constraints.txt does not fit {line}"
        )


def test_constraints_are_plain_pins():
    assert all(re.fullmatch(r"[a-z0-9-]+", name) and re.fullmatch(r"[\w.]+", version) for name, version in PINS.items())
    assert not [name for name in PINS if name.startswith(("nvidia", "cuda", "triton"))], (
        "torch brings its own CUDA libraries"
    )
    assert (PINS["torch"], PINS["torchvision"]) == ("2.14.1", "0.29.1")
