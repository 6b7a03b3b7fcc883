"""Set expr_course up on this machine.

    python3 .ci/setup.py env                  make .venv and install the course into it (does nothing when that is done)
    python3 .ci/setup.py course [--no-open]   env, the working copy course/, and JupyterLab on it
    python3 .ci/setup.py fresh                give the original lessons back; changed ones move to course/_mine

Only the standard library is used, and any Python from 3.6 on can read this file, so that it can say what is wrong.
Environment: TORCH_INDEX = address of a PyTorch package index, such as the CPU-only one from PyTorch's install page.
"""
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.13", "3.12", "3.11")
GB = 1e9
INSIDE = "Scripts" if os.name == "nt" else "bin"


class Problem(Exception):
    """Something a reader can put right. The message says what, where and how."""


def say(text):
    print("expr_course: " + text, flush=True)


# --- a suitable Python -------------------------------------------------------------------------------------------

PROBE = """
import json, sys
try: import venv, ensurepip; complete = True
except ImportError: complete = False
print(json.dumps(["%d.%d" % sys.version_info[:2], sys.executable, complete]))
"""


def probe(command):
    """(version, path, has the venv module) of the Python that `command`, a list, starts; None where it does not."""
    try:
        done = subprocess.run(command + ["-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        return tuple(json.loads(done.stdout.decode())) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def candidates():
    """Commands that may start a Python: this one first, then the ones on the path."""
    yield [sys.executable]
    for version in PYTHONS:
        yield ["python" + version]
        if os.name == "nt":
            yield ["py", "-" + version]


def find_python(commands=None):
    """Path of the first Python 3.11-3.13 that can make environments. Raises Problem where there is none."""
    seen, incomplete = [], None
    for command in commands or candidates():
        found = probe(command)
        if not found:
            continue
        version, path, complete = found
        if version in PYTHONS and complete:
            return path
        if version in PYTHONS:
            incomplete = incomplete or (version, path)
        seen.append(f"{version} ({path})")
    if incomplete:
        version, path = incomplete
        raise Problem(f"Python {version} at {path} lacks the venv module. On Debian and Ubuntu: "
                      f"sudo apt install python{version}-venv")
    found = ", ".join(sorted(set(seen))) or "none that starts"
    raise Problem(f"the course needs Python 3.11, 3.12 or 3.13; found only {found}. Install one of them (python.org, "
                  "your system's packages, or conda), then repeat the command; a Python that is not on the path is "
                  "named with make course PYTHON=/path/to/python3.12")


# --- the environment ---------------------------------------------------------------------------------------------

def venv_python(root=ROOT):
    return root / ".venv" / INSIDE / ("python.exe" if os.name == "nt" else "python")


def fingerprint(root=ROOT):
    """Changes whenever the installed set has to change."""
    names = ("pyproject.toml", "constraints.txt")
    return hashlib.sha256(b"".join((root / name).read_bytes() for name in names)).hexdigest()


def is_ready(root=ROOT):
    stamp = root / ".venv" / "expr_course.stamp"
    return stamp.is_file() and stamp.read_text() == fingerprint(root) and probe([str(venv_python(root))]) is not None


def sizes():
    """(to fetch, free space needed) in bytes. On Linux the default PyTorch brings its CUDA libraries."""
    cuda = platform.system() == "Linux" and not os.environ.get("TORCH_INDEX")
    return (3.0 * GB, 11 * GB) if cuda else (0.5 * GB, 3.5 * GB)


def check_disk(root=ROOT):
    fetch, need = sizes()
    free = shutil.disk_usage(str(root)).free
    if free < need:
        raise Problem(f"{root} has {free / GB:.1f} GB free, and the installation needs {need / GB:.1f} GB while it "
                      "runs. Make room, move the folder to another disk, or take the CPU-only PyTorch (3.5 GB) with "
                      "TORCH_INDEX=..., see README.md")
    say(f"about {fetch / GB:.1f} GB will be fetched; this happens once and takes some minutes")
    if fetch > GB and not shutil.which("nvidia-smi"):
        say("no NVIDIA GPU was found: TORCH_INDEX=... with PyTorch's CPU-only index would fetch 0.5 GB instead "
            "(README.md)")


NETWORK = (
    "NewConnectionError", "NameResolutionError", "Temporary failure in name resolution", "Network is unreachable",
    "ConnectTimeout", "ReadTimeout", "ProxyError", "CERTIFICATE_VERIFY_FAILED", "Connection refused",
    "Connection reset",
)


def explain(errors):
    """What pip's error output means, in one sentence with the remedy."""
    if "No space left on device" in errors or "Errno 28" in errors:
        return ("the disk is full. Make room (pip cache purge helps) and repeat the command: what is installed "
                "already is kept")
    if any(sign in errors for sign in NETWORK):
        return ("the packages cannot be fetched: no network, or a proxy or firewall in between (pip reads "
                "HTTPS_PROXY). Repeat the command when the connection is back: what is installed already is kept")
    if "No matching distribution" in errors or "Could not find a version" in errors:
        here = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        return (f"a package, named above, has no ready-made build for this system ({here}), and nothing is compiled "
                "here. Use 64-bit Python 3.12 on Linux, Windows or an Apple-silicon Mac, and check TORCH_INDEX if you "
                "set it")
    return "pip stopped with the error above. Repeat the command; if it stays, remove the folder .venv and repeat it"


def pip(root, *arguments):
    """Run pip with its progress bars; raise Problem with an explanation where it fails."""
    command = [str(venv_python(root)), "-m", "pip", "--disable-pip-version-check", "install", "--retries", "3"]
    running = subprocess.Popen(command + list(arguments), cwd=str(root), stderr=subprocess.PIPE)
    errors = []
    for line in running.stderr:
        errors.append(line.decode(errors="replace"))
        sys.stderr.write(errors[-1])
    if running.wait():
        raise Problem(explain("".join(errors)))


def make_env(root=ROOT):
    """Make .venv with everything the course needs. Does nothing when that is done."""
    if is_ready(root):
        return
    found = probe([str(venv_python(root))])
    if found and found[0] not in PYTHONS:
        raise Problem(f"{root / '.venv'} holds Python {found[0]}, and the course needs 3.11 to 3.13. Remove that "
                      "folder and repeat the command")
    python = None if found else find_python()
    stamp = root / ".venv" / "expr_course.stamp"
    if not stamp.is_file():  # an update fetches little
        check_disk(root)
    index = os.environ.get("TORCH_INDEX")
    steps = 3 if index else 2
    if python:
        say(f"1/{steps} an environment in .venv, with {python}")
        if subprocess.call([python, "-m", "venv", "--clear", str(root / ".venv")]):
            raise Problem(f"no environment could be made in {root / '.venv'}: the message above says why")
    if index:
        say(f"2/3 PyTorch from {index}")
        lines = (root / "constraints.txt").read_text().split()
        pins = [line for line in lines if line.startswith(("torch==", "torchvision=="))]
        pip(root, "--no-deps", "--index-url", index, *pins)
    say(f"{steps}/{steps} the course and its packages; unpacking is silent for a minute or two")
    pip(root, "--only-binary", ":all:", "--constraint", "constraints.txt", "--editable", ".[lab,dev]")
    prepare_jupyter(root)
    stamp.write_text(fingerprint(root))
    say("installed in .venv")


def prepare_jupyter(root=ROOT):
    """A kernel inside the environment, and no question about news at JupyterLab's first start."""
    command = [str(venv_python(root)), "-m", "ipykernel", "install", "--sys-prefix", "--name", "python3",
               "--display-name", "Python 3 (expr_course)"]
    subprocess.check_call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    overrides = root / ".venv" / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    overrides.parent.mkdir(parents=True, exist_ok=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    overrides.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": quiet}))


# --- the working copy --------------------------------------------------------------------------------------------

def originals(root=ROOT):
    """{path inside nbs: hash} of everything a reader gets a copy of."""
    nbs = root / "nbs"
    files = [path for path in sorted(nbs.rglob("*")) if path.is_file()]
    inside = [path.relative_to(nbs) for path in files]
    return {path.as_posix(): file_hash(nbs / path) for path in inside
            if not any(part.startswith((".", "__pycache__")) for part in path.parts)}


def file_hash(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def replace_file(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    shutil.copyfile(str(source), str(part))
    os.replace(str(part), str(target))


def new_folder(path):
    """`path`, or where it exists already, `path` with the first free number."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def copy_lessons(root=ROOT, fresh=False):
    """Bring course/ up to date with nbs/, never writing over a file the reader changed.

    Returns {"new", "updated", "kept", "aside"}: lists of paths. "kept": changed by the reader while a newer original
    exists. With fresh=True changed files move to course/_mine/<time>/ first ("aside"), and all originals are given
    back.
    """
    course, record = root / "course", root / "course" / ".originals.json"
    given = json.loads(record.read_text()) if record.is_file() else {}
    now = originals(root)
    report = {"new": [], "updated": [], "kept": [], "aside": []}
    mine = new_folder(course / "_mine" / time.strftime("%Y-%m-%d_%H-%M-%S"))
    for name in sorted(set(given) | set(now)):
        copy = course / name
        found = file_hash(copy) if copy.is_file() else None
        if found is not None and found != now.get(name) and found != given.get(name):  # the reader's own work
            if not fresh:
                if given.get(name) != now.get(name):
                    report["kept"].append(name)
                continue
            (mine / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(str(copy), str(mine / name))
            report["aside"].append((mine / name).relative_to(root).as_posix())
        if name not in now:  # the lesson was renamed or removed
            given.pop(name)
            if copy.is_file():
                copy.unlink()
        elif found != now[name]:
            replace_file(root / "nbs" / name, copy)
            report["new" if found is None else "updated"].append(name)
        if name in now:
            given[name] = now[name]
    record.parent.mkdir(parents=True, exist_ok=True)
    part = record.with_name(record.name + ".part")
    part.write_text(json.dumps(given, indent=1))
    os.replace(str(part), str(record))
    return report


def tell(report):
    for name in report["kept"]:
        say(f"course/{name}: yours is kept, though the original changed; make fresh brings that one")
    for name in report["aside"]:
        say(f"your changed lesson is kept as {name}")
    changed = len(report["new"]) + len(report["updated"])
    state = f"{changed} files written" if changed else "up to date"
    say(f"course/ is your working copy of the lessons ({state}): change what you like")


# --- JupyterLab --------------------------------------------------------------------------------------------------

def has_screen():
    """Whether a browser can be opened where the reader sits."""
    if os.name == "nt" or sys.platform == "darwin":
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def lab_command(python, folder, page=None, browser=True):
    """The command that starts JupyterLab in `folder`, opening the notebook `page`."""
    command = [str(python), "-m", "jupyterlab", f"--ServerApp.root_dir={folder}",
               "--ServerApp.log_level=WARN",  # what stays is the address
               # a photograph through an upload button
               "--ServerApp.tornado_settings={'websocket_max_message_size': 104857600}"]
    if page:
        command.append(f"--LabApp.default_url=/lab/tree/{page}")
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command


def open_lab(root=ROOT):
    course = root / "course"
    pages = [name for name in ("00_tour.ipynb", "index.ipynb") if (course / name).is_file()]
    browser = has_screen()
    if not browser:
        say("no browser can be opened from here: open the address that JupyterLab prints below "
            "(http://127.0.0.1:... with its token)")
        say("when your browser runs on another machine, first: ssh -L 8888:127.0.0.1:8888 you@this-machine")
    say("JupyterLab starts; stop it with Ctrl-C")
    command = lab_command(venv_python(root), course, pages[0] if pages else None, browser)
    if os.name == "nt":
        return subprocess.call(command, cwd=str(course))
    sys.stdout.flush()
    os.chdir(str(course))
    os.execv(command[0], command)  # JupyterLab takes this process over, so that Ctrl-C reaches it alone


def main(arguments):
    if not arguments or arguments[0] not in ("env", "course", "fresh") or set(arguments[1:]) - {"--no-open"}:
        print(__doc__)
        return 2
    try:
        if arguments[0] in ("env", "course"):
            make_env()
        if arguments[0] in ("course", "fresh"):
            tell(copy_lessons(fresh=arguments[0] == "fresh"))
        if arguments[0] == "course" and "--no-open" not in arguments:
            return open_lab()
    except Problem as problem:
        say("STOPPED. " + str(problem))
        return 1
    except KeyboardInterrupt:
        say("stopped; repeat the command to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
