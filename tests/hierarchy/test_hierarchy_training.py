"The training of the hierarchical editor: losses by hand, exact resume, settings, and the task as a recipe runs it."
import json

import pytest
import torch

from expr_course.hierarchy import pairs as P
from expr_course.hierarchy import training as T
from expr_course.registry import find_task
from expr_course.training.checkpoint import Checkpoints
from expr_course.training.command import run_recipe
from expr_course.training.learner import Learner
from expr_course.training.recipe import load_recipe
from expr_course.training.weights import load_network

SMALL = dict(fine=24, coarse=24, blocks=1, local_fine=24, local_coarse=24, local_blocks=1)
TINY = P.PairSettings(size=128, batch_size=2, people=4, keep=8, fresh=2.0, chunk=2)


def learner(out, steps):
    torch.manual_seed(1)
    s = T.HierarchySettings(steps=steps, perceptual=0.0, **SMALL)
    system = T.HierarchyTraining(s, {})
    return Learner(system, P.PairPool(TINY, 0), steps, [Checkpoints(2)], clip=5.0, ema=0.9, out=out,
                   device="cpu", precision="bf16")


def test_resume_is_exact(tmp_path):
    whole = learner(tmp_path / "a", 5).fit()
    first = learner(tmp_path / "b", 5)

    class Stop:
        def after_step(self, one):
            one.stop = one.step == 3

    first.callbacks.insert(0, Stop())
    first.fit()
    torch.manual_seed(77)
    second = learner(tmp_path / "b", 5)
    torch.rand(5)
    second.fit(resume=True)
    assert second.step == 5
    for name, value in whole.system.state_dict().items():
        assert torch.equal(value, second.system.state_dict()[name]), name
    assert all(torch.equal(v, second.ema.shadow[k]) for k, v in whole.ema.shadow.items())


def test_losses():
    x, goal = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    assert all(abs(float(t) - 1) < 1e-5 for t in T.pair_terms(x, x, goal)) and not any(T.pair_terms(goal, x, goal))
    flow = torch.zeros(1, 2, 16, 16)
    flow[:, 0] = 3 / 32
    points = 6 + 10 * torch.rand(1, 68, 2)
    assert T.flow_term(flow, points + torch.tensor([3.0, 0.0]), points, 32) < 1e-6
    assert abs(T.flow_term(0 * flow, points + torch.tensor([3.0, 0.0]), points, 32) - 3 / 64) < 1e-6


def test_pairs_without_change_do_not_shout():
    x = torch.zeros(1, 3, 8, 8)
    first, second = T.pair_terms(x + 1e-2, x, x)
    assert abs(first - 10) < 1e-4 and abs(second - 1) < 1e-4


def test_schedule():
    for warm, share, due in ((50, 0.0125, 0.25), (0, 0.0125, 1.0), (50, 0.5, 1.0), (50, 0.825, 0.5), (50, 1.0, 0.0)):
        factor = T.hierarchy_schedule(T.HierarchySettings(steps=1000, warm=warm, flat=0.65))
        assert abs(factor(share) - due) < 1e-6


def test_settings():
    for profile in ("smoke", "cpu", "gpu"):
        s = T.HierarchySettings.from_recipe(load_recipe("hierarchy-128", profile))
        assert s.keep >= s.people and s.generator().keys() <= T.HierarchicalGenerator().config.keys()
    with pytest.raises(ValueError, match="blocks"):
        T.HierarchySettings.from_recipe({"task": "hierarchy", "blokcs": 3})
    with pytest.raises(ValueError, match="shares"):
        T.HierarchySettings.from_recipe({"task": "hierarchy", "spoilt": 2.0})


def test_validation_pairs_are_clean_and_the_same():
    s = T.HierarchySettings(chunk=2, batch_size=7, seed=5, people=4, keep=8)
    first, second = T.validation_pairs(s, 3), T.validation_pairs(T.HierarchySettings(chunk=2), 3)
    assert all(len(value) == 3 and torch.equal(value, second[name]) for name, value in first.items())


def test_task(tmp_path):
    assert find_task("hierarchy") is T.train_hierarchy
    settings = load_recipe("hierarchy-128", "smoke") | {"steps": 2, "cases": 4, "people": 4, "late": 0.0}
    card = run_recipe(settings, tmp_path, resume=False)
    network, about = load_network(tmp_path / "generator.safetensors")
    assert about["network"] == "HierarchicalGenerator" and network.config == card["generator"]
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"generator/perceptual", "generator/points", "val/alignment"} <= line.keys()
