"""System, Learner, schedules, EMA and the plain callbacks (lessons 05a to 05c)."""
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toy_training import batch, make

from expr_course.data.sources import mix_seed
from expr_course.device import by_profile, kept_rng, pick_device, profile, rng_state, seed_everything, set_rng_state
from expr_course.training.callbacks import Callback, MetricsLog, Progress, SampleGrid, read_metrics, watched
from expr_course.training.learner import (EMA, FunctionSource, Learner, NotFinite, System, constant, cosine,
                                          linear_decay, make_accelerator, random_batches, warmup)


def weights(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Line(System):
    """One linear layer, one optimiser; `terms` makes the losses."""

    def __init__(self, terms=None, rate=0.1):
        super().__init__()
        self.net, self.rate = nn.Linear(3, 1), rate
        self.terms = terms or (lambda net, x, step: {"mse": (net(x) - 1).square().mean()})

    def optimizers(self):
        return {"net": torch.optim.Adam(self.net.parameters(), self.rate)}

    def phases(self, batch, step):
        yield "net", self.terms(self.net, batch["x"], step)


def fit(system, steps=5, callbacks=(), **options):
    return Learner(system, FunctionSource(batch), steps, callbacks, device="cpu", **options).fit()


# ---- the device module ----

def test_profile(monkeypatch):
    monkeypatch.delenv("EXPR_PROFILE", raising=False)
    assert profile() == "cpu"
    monkeypatch.setenv("EXPR_PROFILE", " Smoke ")
    assert profile() == "smoke" and by_profile(smoke=1, cpu=2, gpu=3) == 1
    monkeypatch.setenv("EXPR_PROFILE", "huge")
    with pytest.raises(ValueError, match="'huge'.*smoke, cpu, gpu"):
        profile()


def test_pick_device():
    assert pick_device("cpu").type == "cpu"
    assert pick_device() == pick_device("auto")
    for absent in ("nonsense", "xpu") + (() if torch.cuda.is_available() else ("cuda",)):
        with pytest.raises(ValueError, match=f"{absent}.*not available.*cpu"):
            pick_device(absent)


def draw():
    import random

    import numpy as np
    return (
        random.random(), float(np.random.rand()), float(np.random.randn()), torch.rand(3).tolist(), random.gauss(0, 1),
    )


def test_rng_state_survives_json():
    seed_everything(3)
    draw()
    state = json.loads(json.dumps(rng_state()))
    first = draw()
    set_rng_state(state)
    assert draw() == first
    with kept_rng():
        inside = draw()
    assert draw() == inside
    with pytest.raises(ValueError, match="-1.*between 0"):
        seed_everything(-1)


# ---- the loop ----

def test_equals_the_plain_loop_bit_for_bit():
    seed_everything(0)
    system = Line()
    net = nn.Linear(3, 1)
    net.load_state_dict(system.net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), 0.1)
    fit(system, 10)
    for k in range(10):
        optimizer.zero_grad()
        (net(batch(k)["x"]) - 1).square().mean().backward()
        optimizer.step()
    assert same(weights(net), weights(system.net))


def test_two_optimizers_in_turn():
    learner = make(None, 4, clip=None, ema=None)
    d, g = weights(learner.system.d), weights(learner.system.g)
    seen = []

    class Watch(Callback):
        def after_step(self, learner):
            seen.append(sorted(k for k in learner.record if "/" in k and not k.endswith("norm")))

    learner.callbacks = [Watch()]
    learner.fit()
    assert not same(d, weights(learner.system.d)) and not same(g, weights(learner.system.g))
    assert seen == [["d/fake", "d/real", "d/size", "g/adv", "g/l2"], ["d/fake", "d/real", "d/size"]] * 2
    assert "spread" in learner.record


def test_a_phase_sees_the_step_of_the_one_before():
    class Two(Line):
        def phases(self, batch, step):
            before = weights(self.net)
            yield "net", {"a": self.net(batch["x"]).square().mean()}
            self.moved = not same(before, weights(self.net))
            yield "net", {"b": self.net(batch["x"]).square().mean()}
    assert fit(Two(), 1).system.moved


def test_accumulation_equals_the_larger_batch():
    seed_everything(0)
    small, large = Line(), Line()
    large.load_state_dict(small.state_dict())
    fit(small, 6, accumulate=2)
    source = FunctionSource(lambda k: {"x": torch.cat([batch(2 * k)["x"], batch(2 * k + 1)["x"]])})
    Learner(large, source, 6, device="cpu").fit()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(small.parameters(), large.parameters()))


@pytest.mark.parametrize("limit", [0.01, 1e9])
def test_clip(limit):
    class Look(Line):
        def optimizers(self):
            return {"net": torch.optim.SGD(self.net.parameters(), 1.0)}
    system = Look(lambda net, x, step: {"l": 10 * net(x).mean()})
    before = weights(system.net)
    learner = fit(system, 1, clip=limit)
    moved = math.sqrt(sum((v - before[k]).square().sum().item() for k, v in weights(system.net).items()))
    assert moved == pytest.approx(min(limit, learner.record["net/norm"]), rel=1e-4)


def test_bf16_computes_in_bfloat16_and_keeps_float32_weights():
    seen = []

    def terms(net, x, step):
        y = net(x)
        seen.append(y.dtype)
        return {"l": (y - 1).square().mean()}
    learner = fit(Line(terms), 3, precision="bf16")
    assert set(seen) == {torch.bfloat16} and learner.system.net.weight.dtype == torch.float32
    with pytest.raises(ValueError, match="'fp8'"):
        make_accelerator("fp8")


def test_fit_again_goes_on():
    learner = fit(Line(), 3)
    learner.steps = 5
    learner.fit()
    assert learner.step == 5 and learner.source.position == 5


# ---- schedules ----

@settings(deadline=None, max_examples=50)
@given(st.floats(0, 1), st.sampled_from([constant, linear_decay(0.6), cosine(), cosine(0.1)]), st.floats(0.01, 0.5))
def test_schedules_stay_between_0_and_1(t, schedule, warm):
    assert 0 <= schedule(t) <= 1 and 0 <= warmup(schedule, warm)(t) <= 1


def test_schedule_values():
    assert constant(0.3) == 1
    line = linear_decay(0.6)
    assert [line(0), line(0.6), round(line(0.8), 9), line(1)] == [1, 1, 0.5, 0]
    assert cosine(0.1)(0) == 1 and cosine(0.1)(1) == pytest.approx(0.1) and cosine()(0.5) == pytest.approx(0.5)
    assert warmup(constant, 0.2)(0.1) == pytest.approx(0.5) and warmup(constant, 0.2)(0.7) == 1


def test_schedule_multiplies_every_base_rate():
    learner = make(None, 10, schedule=linear_decay(0.0))
    learner.optimizers["d"].add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 5e-3})
    learner.rates["d"].append(5e-3)
    learner.fit()
    assert [g["lr"] for g in learner.optimizers["d"].param_groups] == pytest.approx([1e-2 * 0.05, 5e-3 * 0.05])
    assert learner.record["rate"] == pytest.approx(0.05)


# ---- EMA ----

def test_ema_formula_and_swap():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = EMA({"net": net}, 0.9)
    expected = net[0].weight.detach().clone()
    for n in range(4):
        with torch.no_grad():
            net[0].weight.add_(1)
            net[1].num_batches_tracked.add_(1)
        ema.update(n)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * net[0].weight.detach()
    live = weights(net)
    assert all(v.is_floating_point() for v in ema.shadow.values())
    with ema.swapped():
        assert torch.allclose(net[0].weight, expected) and net[1].num_batches_tracked == 4
    assert same(live, weights(net))
    with pytest.raises(ValueError, match="1.5.*between 0 and 1"):
        EMA({"net": net}, 1.5)


# ---- what stops a training ----

def test_nan_names_term_phase_and_step_and_spares_the_weights():
    def terms(net, x, step):
        return {"good": net(x).mean(), "bad": net(x).mean() * (float("nan") if step == 3 else 1)}
    system, kept = Line(terms), []

    class Keep(Callback):
        def after_step(self, learner):
            kept.append(weights(learner.system))
    with pytest.raises(NotFinite, match="Step 3, phase 'net': the loss term 'bad'.*good = "):
        fit(system, 9, [Keep()])
    assert same(kept[-1], weights(system)) and len(kept) == 3


def test_infinite_gradient_of_a_finite_loss():
    system = Line(lambda net, x, step: {"root": (net.weight * 0).sum().sqrt()})
    with pytest.raises(NotFinite, match="phase 'net'.*gradient of parameter 0"):
        fit(system, 1)


@pytest.mark.parametrize("item, message", [
    ("net", "must yield"),
    (("net", {}), "at least one term"),
    (("nett", {"a": torch.zeros(1)}), "'nett'.*'net'"),
    (("net", {"a": 1.0}), "'a' must be a tensor"),
    (("net", {"a": torch.zeros(2)}), "'a' must be a tensor with one element"),
])
def test_wrong_phases(item, message):
    class Wrong(Line):
        def phases(self, batch, step):
            yield item
    with pytest.raises(ValueError, match=message):
        fit(Wrong(), 1)


def test_other_mistakes():
    with pytest.raises(NotImplementedError, match="System must define optimizers"):
        fit(System(), 1)
    with pytest.raises(ValueError, match="ran out of batches at step 2 of 5"):
        Learner(Line(), [batch(0), batch(1)], 5, device="cpu").fit()
    with pytest.raises(ValueError, match="needs a Checkpoints callback"):
        Learner(Line(), FunctionSource(batch), 5, device="cpu").fit(resume=True)


# ---- sources and callbacks ----

@settings(deadline=None, max_examples=20)
@given(st.integers(0, 20), st.integers(1, 4))
def test_function_source_continues_and_shards(n, world):
    source = FunctionSource(lambda k: k)
    it = iter(source)
    for _ in range(n):
        next(it)
    other = FunctionSource(lambda k: k)
    other.load_state_dict(json.loads(json.dumps(source.state_dict())))
    assert next(iter(other)) == next(it) == n
    parts = [FunctionSource(lambda k: k) for _ in range(world)]
    for rank, part in enumerate(parts):
        part.shard(rank, world)
    rounds = [[next(it) for it in [iter(p) for p in parts]] for _ in range(3)]
    assert [k for r in rounds for k in r] == list(range(3 * world))


def test_random_batches_depend_on_seed_and_number_alone():
    table = {"x": torch.arange(50), "y": torch.arange(50) * 2}
    source = random_batches(table, 8, seed=3)
    third = [next(batches) for batches in [iter(source)] for _ in range(3)][2]
    assert torch.equal(third["y"], 2 * third["x"]) and len(third["x"]) == 8
    assert torch.equal(third["x"], random_batches(table, 8, seed=3).make(2)["x"])
    assert not torch.equal(third["x"], random_batches(table, 8, seed=4).make(2)["x"])
    generator = torch.Generator().manual_seed(mix_seed("chosen", 3, 2))   # as in the recorded trainings
    assert torch.equal(third["x"], torch.randint(50, (8,), generator=generator))


def test_hooks_in_order_and_end_fit_after_an_error():
    calls = []

    class Note(Callback):
        def before_fit(self, learner):
            calls.append("before")
        def after_step(self, learner):
            calls.append(learner.step)
        def after_fit(self, learner):
            calls.append("after")
        def end_fit(self, learner):
            calls.append("end")
    fit(Line(), 2, [Note()])
    assert calls == ["before", 1, 2, "after", "end"]
    calls.clear()
    with pytest.raises(NotFinite):
        fit(Line(lambda net, x, step: {"l": net(x).mean() / 0}), 2, [Note()])
    assert calls == ["before", "end"]


def test_metrics_log_averages_and_writes_whole_lines(tmp_path):
    records = []

    class Keep(Callback):
        def after_step(self, learner):
            records.append(learner.record)
    log = MetricsLog(every=4)
    fit(Line(), 10, [Keep(), log], out=tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert lines == log.history and [line["step"] for line in lines] == [4, 8, 10]
    assert lines[1]["net/mse"] == pytest.approx(sum(r["net/mse"] for r in records[4:8]) / 4)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 11, "net/m')
    assert read_metrics(tmp_path / "metrics.jsonl") == lines


def test_watching_does_not_disturb_the_training(tmp_path):
    watched, alone = make(None, 12), make(None, 12)
    watched.callbacks, watched.out = [SampleGrid(3), Progress()], tmp_path
    seed_everything(1), alone.fit()
    seed_everything(1), watched.fit()
    alone_weights = weights(alone.system)
    # make() seeds alike, so both systems started from the same weights
    assert same(alone_weights, weights(watched.system))
    assert [p.name for p in sorted((tmp_path / "samples").iterdir())] == [f"step-{k:06d}.png" for k in (3, 6, 9, 12)]
    from PIL import Image
    assert Image.open(tmp_path / "samples" / "step-000012.png").size[0] > 16


def test_watched_shows_averaged_weights_and_eval_mode():
    learner = make(None, 5)
    learner.fit()
    live = weights(learner.system)
    with watched(learner) as system:
        assert not system.training and torch.equal(system.g[0].weight, learner.ema.shadow["g.0.weight"])
        assert not torch.equal(system.g[0].weight, live["g.0.weight"])
    assert learner.system.training and same(live, weights(learner.system))
