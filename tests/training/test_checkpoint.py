"""Checkpoints: whole or not at all, exact, and clear about what is wrong (lesson 05d)."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from toy_training import Toy, batch, make

from expr_course.training import checkpoint
from expr_course.training.callbacks import read_metrics
from expr_course.training.checkpoint import (Checkpoints, checkpoints_in, load_checkpoint, read_tensors,
                                             save_checkpoint)
from expr_course.training.learner import FunctionSource, Learner

SCRIPT = Path(__file__).parent / "toy_training.py"
ENV = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
STEPS = 120


def start(out, *flags, steps=STEPS):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), str(steps), *flags], stdout=subprocess.PIPE, text=True, env=ENV
    )


def stop_at(out, step, how, *flags):
    """Start the training process, wait until it reports `step`, send the signal; returns (exit code, last step
    reported)."""
    process, last = start(out, "--slow", *flags), 0
    for line in process.stdout:
        last = int(line)
        if last == step:
            process.send_signal(how)
    return process.wait(60), last


def files_of(out):
    last = checkpoints_in(out / "checkpoints")[-1]
    return {p.name: p.read_bytes() for p in last.glob("*.safetensors")}


def log_of(out):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(out / "metrics.jsonl")]


@pytest.mark.timeout(300)
def test_killed_at_random_steps_and_resumed_ends_with_the_same_bits(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole).wait(120) == 0
    first, second, third = sorted(random.Random(os.environ.get("EXPR_KILL_SEED", 5)).sample(range(2, STEPS - 30), 3))
    code, _ = stop_at(broken, first, signal.SIGKILL)
    assert code == -signal.SIGKILL
    code, _ = stop_at(broken, second, signal.SIGKILL, "--resume")
    assert code == -signal.SIGKILL
    code, last = stop_at(broken, third, signal.SIGTERM, "--resume")
    assert code == 128 + signal.SIGTERM
    assert checkpoints_in(broken / "checkpoints")[-1].name == f"step-{last:06d}"   # SIGTERM: saved at the very step
    assert start(broken, "--resume").wait(120) == 0
    assert checkpoints_in(broken / "checkpoints")[-1].name == f"step-{STEPS:06d}"
    assert files_of(whole) == files_of(broken)
    assert set(files_of(whole)) == {"weights.safetensors", "optimizers.safetensors", "ema.safetensors"}
    assert log_of(whole) == log_of(broken)
    assert not list(broken.rglob(".*"))


@pytest.mark.parametrize("at", [1, 6, 7, 8, 19])
def test_resume_in_one_process(tmp_path, at):
    make(tmp_path / "a", 20).fit()
    learner = make(tmp_path / "b", 20)
    learner.callbacks.insert(0, StopAt(at))
    learner.fit()
    assert learner.step == at
    learner = make(tmp_path / "b", 20, seed=99).fit(resume=True)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") and log_of(tmp_path / "a") == log_of(tmp_path / "b")
    assert learner.source.position == 20


class StopAt:
    def __init__(self, step):
        self.step = step
    def after_step(self, learner):
        learner.stop = learner.step == self.step


def test_keeps_the_last_and_finishing_twice_is_harmless(tmp_path):
    make(tmp_path, 20, save_every=5).fit()
    assert [p.name for p in checkpoints_in(tmp_path / "checkpoints")] == ["step-000015", "step-000020"]
    before = files_of(tmp_path)
    assert make(tmp_path, 20).fit(resume=True).step == 20 and files_of(tmp_path) == before
    with pytest.raises(FileExistsError, match="already holds a run.*resume"):
        make(tmp_path, 20).fit()
    with pytest.raises(ValueError, match="out="):
        Learner(Toy(), FunctionSource(batch), 3, [Checkpoints()], device="cpu").fit()


def test_resume_without_a_checkpoint_starts(tmp_path):
    assert make(tmp_path, 5).fit(resume=True).step == 5


def test_a_crash_while_writing_leaves_nothing_half_done(tmp_path, monkeypatch):
    learner = make(tmp_path, 20)
    real, calls = checkpoint.write_bytes, []

    def crash(path, data):
        calls.append(path)
        if len(calls) == 5:
            raise OSError("no space left on device")
        return real(path, data)
    monkeypatch.setattr(checkpoint, "write_bytes", crash)
    with pytest.raises(OSError, match="no space"):
        learner.fit()
    assert [p.name for p in checkpoints_in(tmp_path / "checkpoints")] == ["step-000007"]
    assert [p.name for p in (tmp_path / "checkpoints" / "step-000014").iterdir()] == ["weights.safetensors"]
    monkeypatch.setattr(checkpoint, "write_bytes", real)
    make(tmp_path, 20).fit(resume=True)
    make(tmp_path / "whole", 20).fit()
    assert files_of(tmp_path) == files_of(tmp_path / "whole")


def test_ctrl_c_finishes_the_step_and_saves(tmp_path):
    learner = make(tmp_path, 50)
    learner.callbacks.insert(0, PressCtrlC(11))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="saved at step 11"):
        learner.fit()
    assert checkpoints_in(tmp_path / "checkpoints")[-1].name == "step-000011"
    assert signal.getsignal(signal.SIGINT) is before


class PressCtrlC:
    def __init__(self, step):
        self.step = step

    def after_step(self, learner):
        if learner.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)


# ---- damage ----

@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    out = tmp_path_factory.mktemp("saved")
    make(out, 7).fit()
    return out


def copy(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return checkpoints_in(tmp_path / "run" / "checkpoints")[-1]


FILES = ["weights.safetensors", "optimizers.safetensors", "ema.safetensors", "state.json"]


@pytest.mark.parametrize("name", FILES)
def test_missing_file(saved, tmp_path, name):
    path = copy(saved, tmp_path)
    (path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}.*missing.*fall back"):
        load_checkpoint(make(None, 7), path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("cut", [0, 5, 0.5, -1])
def test_truncated_file(saved, tmp_path, name, cut):
    path = copy(saved, tmp_path)
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[:int(cut * len(data)) if isinstance(cut, float) else cut])
    with pytest.raises(ValueError, match=f"{name}.*damaged.*fall back"):
        load_checkpoint(make(None, 7), path)


@pytest.mark.parametrize("seed", range(12))
def test_flipped_byte_is_noticed_and_changes_nothing(saved, tmp_path, seed):
    path, r = copy(saved, tmp_path), random.Random(seed)
    name = FILES[seed % 3]
    data = bytearray((path / name).read_bytes())
    data[r.randrange(len(data))] ^= 1 << r.randrange(8)
    (path / name).write_bytes(data)
    learner = make(None, 7)
    before = {k: v.clone() for k, v in learner.system.state_dict().items()}
    with pytest.raises(ValueError, match=f"{name} is damaged: its SHA-256"):
        load_checkpoint(learner, path)
    assert all(torch.equal(v, before[k]) for k, v in learner.system.state_dict().items())


def test_missing_field_in_the_state(saved, tmp_path):
    path = copy(saved, tmp_path)
    state = json.loads((path / "state.json").read_text())
    del state["processes"]
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="state.json lacks the field 'processes'"):
        load_checkpoint(make(None, 7), path)


def test_damaged_tensors_without_a_digest(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(ValueError, match="x.safetensors is damaged"):
        read_tensors(tmp_path / "x.safetensors")


def test_other_architecture(saved, tmp_path):
    path = copy(saved, tmp_path)
    other = make(None, 7)
    other.system.d = Toy(width=9).d
    with pytest.raises(
        ValueError,
        match=r"weights.safetensors does not fit.*'d.0.weight' is 8×3 float32 there and 9×3 .*recipe.json",
    ):
        load_checkpoint(other, path)
    more = make(None, 7)
    more.system.extra = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="'extra.bias' is missing"):
        load_checkpoint(more, path)
    with pytest.raises(ValueError, match="files ema.safetensors.*recipe.json"):
        load_checkpoint(make(None, 7, ema=None), path)
    fewer = make(None, 7)
    fewer.optimizers["d"] = torch.optim.Adam(list(fewer.system.d.parameters())[:2], 1e-2)
    with pytest.raises(ValueError, match="optimiser 'd'.*parameters per group"):
        load_checkpoint(fewer, path)


def test_source_without_a_state(tmp_path):
    class Bare:
        def __iter__(self):
            while True:
                yield batch(0)
    with pytest.raises(ValueError, match="Bare has no state_dict.*FunctionSource"):
        save_checkpoint(Learner(Toy(), Bare(), 3, device="cpu"), tmp_path)


# ---- several processes ----

TWO = """
import sys, torch
from pathlib import Path
from toy_training import make
torch.set_num_threads(1)
out = Path(sys.argv[1])
class StopAt:
    def after_step(self, learner): learner.stop = learner.step == 8 and learner.accelerator.is_main_process
a = make(out / "a", 20).fit()
b = make(out / "b", 20); b.callbacks.insert(0, StopAt()); b.fit()
assert b.step == 8, b.step
c = make(out / "b", 20).fit(resume=True)
for x, y in zip(a.system.parameters(), c.system.parameters()): assert torch.equal(x, y)
mine = torch.cat([p.detach().reshape(-1) for p in c.system.parameters()])
both = c.accelerator.gather(mine[None])
assert len(both) == 2 and torch.equal(both[0], both[1])
assert torch.initial_seed() == c.accelerator.process_index
"""


@pytest.mark.timeout(300)
def test_two_processes_agree_and_resume(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    env = ENV | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": f"{SCRIPT.parents[1]}{os.pathsep}{SCRIPT.parent}"}
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script),
        str(tmp_path),
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    one = make(None, 20)
    with pytest.raises(ValueError, match="written by 2 processes and this run has 1"):
        load_checkpoint(one, checkpoints_in(tmp_path / "b" / "checkpoints")[-1])
