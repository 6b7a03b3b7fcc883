"""The command expr-train (lesson 05g)."""
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from toy_training import make

from expr_course import registry
from expr_course.training.checkpoint import checkpoints_in
from expr_course.training.command import AUReader, DemoSettings, demo_faces, main
from expr_course.training.recipe import Settings, load_recipe

HERE = Path(__file__).parent
RECIPE = """
[common]
task = "toy"
description = "a toy"
seed = 0
steps = 20
[smoke]
[cpu]
steps = 30
"""


@dataclass(frozen=True, kw_only=True)
class ToySettings(Settings):
    """Of the toy."""
    steps: int = 1


def toy(settings, out, resume):
    s = ToySettings.from_recipe(settings)
    make(out, s.steps, seed=s.seed).fit(resume)
    return {"data": "noise"}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.TASKS, "toy", toy)
    monkeypatch.delenv("EXPR_PROFILE", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("toy.toml").write_text(RECIPE)
    return "toy.toml"


def test_a_run_leaves_everything(recipe, capsys):
    assert main([recipe, "--profile", "smoke"]) == 0
    out = Path("runs/toy-smoke")
    assert sorted(p.name for p in out.iterdir()) == [
        "card.json", "checkpoints", "metrics.jsonl", "recipe.json", "samples",
    ]
    card = json.loads((out / "card.json").read_text())
    assert (
        card["steps"] == 20
        and card["seed"] == 0
        and card["data"] == "noise"
        and card["recipe"]["task"] == "toy"
        and card["device"].startswith("cpu")
    )
    assert (
        card["seconds"] > 0
        and "d/real" in card["metrics"]
        and card["versions"].keys() == {"expr_course", "torch", "python"}
    )
    assert "20 steps" in capsys.readouterr().out


def test_profile_seed_and_set(recipe, monkeypatch):
    monkeypatch.setenv("EXPR_PROFILE", "smoke")
    assert main([recipe, "--seed", "7", "--set", "steps=4", "--out", "here"]) == 0
    settings = json.loads(Path("here/recipe.json").read_text())
    assert (settings["seed"], settings["steps"], settings["profile"]) == (7, 4, "smoke")


def test_not_over_an_old_run_and_resume(recipe, capsys):
    assert main([recipe, "--set", "steps=10"]) == 0
    seconds = json.loads(Path("runs/toy-cpu/card.json").read_text())["seconds"]
    assert main([recipe]) == 2
    assert "already holds a run: continue it with --resume" in capsys.readouterr().err
    assert main([recipe, "--resume", "--seed", "1"]) == 2
    assert "seed was 0 and is now 1" in capsys.readouterr().err
    assert main([recipe, "--resume"]) == 0
    card = json.loads(Path("runs/toy-cpu/card.json").read_text())
    assert card["steps"] == 30 and card["seconds"] >= seconds
    assert main([recipe, "--resume", "--out", "elsewhere"]) == 2
    assert "no run to resume" in capsys.readouterr().err and not Path("elsewhere").exists()


@pytest.mark.parametrize("arguments, message", [
    (["nothing"], "no recipe 'nothing'"),
    (["toy.toml", "--set", "stpes=3"], "Did you mean 'steps'"),
    (["toy.toml", "--profile", "gpu"], "no section [gpu]"),
    (["toy.toml", "--set", "steps"], "key=value"),
    (["toy.toml", "--set", "task='os:system'"], "unknown task 'os:system'"),
    (["toy.toml", "--seed", "-1"], "seed is -1"),
])
def test_errors(recipe, capsys, arguments, message):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.startswith("expr-train: ") and "Traceback" not in said


def test_list(capsys):
    assert main(["--list"]) == 0
    assert "demo  " in capsys.readouterr().out


def test_the_demo_says_what_its_recipe_says():
    """The defaults of the class are those of the recipe, so that a notebook gets the same as the command."""
    recipe = load_recipe("demo", "cpu")
    assert DemoSettings(**{k: recipe[k] for k in ("recipe", "profile", "task", "description")}) == (
        DemoSettings.from_recipe(recipe))


def test_reader_and_faces():
    faces = demo_faces(5, people=2, size=32, seed=1)
    assert faces["image"].shape == (5, 3, 32, 32) and faces["aus"].shape == (5, 17)
    assert torch.equal(faces["aus"], demo_faces(5, people=3, size=32, seed=1)["aus"])
    small = AUReader(size=64, width=4)
    assert small(torch.zeros(2, 3, 64, 64)).shape == (2, 17) and small.config == {"size": 64, "width": 4}


@pytest.mark.timeout(300)
def test_the_demo_killed_and_resumed_as_a_command(tmp_path):
    command = [
        sys.executable, "-m", "expr_course.training.command", "demo", "--profile", "smoke", "--set", "steps=200",
        "--set", "save_every=5", "--set", "device=cpu", "--out",
    ]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    assert (
        subprocess.run([*command, str(tmp_path / "whole")], env=env, capture_output=True, timeout=120).returncode == 0
    )
    process = subprocess.Popen([*command, str(tmp_path / "broken")], env=env, stderr=subprocess.DEVNULL)
    while process.poll() is None and not checkpoints_in(tmp_path / "broken" / "checkpoints"):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    done = subprocess.run(
        [*command, str(tmp_path / "broken"), "--resume"], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "200 steps" in done.stdout, done.stderr
    last = "checkpoints/step-000200/weights.safetensors"
    assert (tmp_path / "whole" / last).read_bytes() == (tmp_path / "broken" / last).read_bytes()
    card = json.loads((tmp_path / "broken" / "card.json").read_text())
    assert card["steps"] == 200 and card["metrics"]["net/mse"] < 0.2
