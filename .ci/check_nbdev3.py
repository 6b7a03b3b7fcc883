"""Show that nbdev 3, which reads pyproject.toml, exports byte for byte the package that nbdev 2, which reads
settings.ini, wrote.

nbdev 3 lives in an environment of its own, .venv-nbdev3, without torch. Standard library only.
"""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import setup

NBDEV = "nbdev==3.3.26"
VENV = setup.ROOT / ".venv-nbdev3" / setup.INSIDE


def install():
    """Make the environment, once."""
    stamp = VENV.parent / (NBDEV + ".stamp")
    if not stamp.is_file():
        subprocess.check_call([setup.find_python(), "-m", "venv", "--clear", str(VENV.parent)])
        subprocess.check_call(
            [str(VENV / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q", NBDEV]
        )
        stamp.touch()


def export(folder):
    """A copy of the sources, exported there: {module: bytes}."""
    for name in ("settings.ini", "pyproject.toml", "README.md"):
        shutil.copy(str(setup.ROOT / name), str(folder))
    for name in ("nbs", "expr_course"):
        shutil.copytree(str(setup.ROOT / name), str(folder / name))
    for path in (folder / "expr_course").rglob("*.py"):
        if path.name != "__init__.py":  # what is not exported again is missed below
            path.unlink()
    subprocess.check_call([str(VENV / "nbdev-export")], cwd=str(folder))
    return modules(folder)


def modules(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted((root / "expr_course").rglob("*.py"))
    }


def main():
    install()
    with tempfile.TemporaryDirectory() as scratch:
        theirs = export(Path(scratch))
    ours = modules(setup.ROOT)
    different = sorted(name for name in set(ours) | set(theirs) if ours.get(name) != theirs.get(name))
    if different:
        sys.exit("nbdev 3 exports something else: " + ", ".join(different))
    print(f"{NBDEV} exports the same {len(ours)} modules")


if __name__ == "__main__":
    main()
