"""Training without pairs: who gets which gradient, what the batches may hold, and that a stopped run_recipe goes on
exactly."""
import json

import pytest
import torch

from expr_course.training.callbacks import read_metrics
from expr_course.data.sources import CachedFaces, DrawnFaces, draw_faces, face_numbers
from expr_course.training.recipe import load_recipe
from expr_course.editing.training import (CRITICS, OracleSettings, PairedOracle, RelativeEditing, RelativeSettings,
                                          mirror_half, other_expressions, with_partners)
from expr_course.training.command import run_recipe
from expr_course.training.weights import load_network

TINY = dict(
    steps=4, warm=1, faces=32, cases=8, batch_size=8, edits=4, width=8, critic_width=8, device="cpu", measure_every=2,
    sample_every=4,
)


def settings(name="relative", **changes):
    return load_recipe(name, "smoke") | {k: v for k, v in TINY.items() if k in load_recipe(name, "smoke")} | changes


@pytest.fixture(scope="module")
def batch():
    return draw_faces(face_numbers("train", 0, 0, 8), 64)


def system(**changes):
    torch.manual_seed(0)
    s = RelativeSettings.from_recipe(settings(**changes))
    return RelativeEditing(s, 64, watched(s))


def watched(s):
    return with_partners(face_numbers("val", 0, 0, s.cases), s.size)


def gradients(module):
    return [p.grad for p in module.parameters() if p.grad is not None and p.grad.abs().sum() > 0]


@pytest.mark.parametrize(
    "kind, name", [(RelativeSettings, "relative"), (RelativeSettings, "paper"), (OracleSettings, "oracle")]
)
def test_a_recipe_fits_its_settings(kind, name):
    for profile in ("smoke", "cpu", "gpu"):
        recipe = load_recipe(name, profile)
        s = kind.from_recipe(dict(recipe))
        assert {key: getattr(s, key) for key in recipe} == recipe
    with pytest.raises(ValueError, match=f"Task '{recipe['task']}'.*'judge_steps'"):
        kind.from_recipe(recipe | {"judge_steps": 2})


def test_every_second_face_is_mirrored_and_its_sides_swap(batch):
    image, aus = mirror_half(batch)
    assert torch.equal(image[1::2], batch["image"][1::2]) and torch.equal(aus[1::2], batch["aus"][1::2])
    assert torch.equal(image[::2], batch["image"][::2].flip(-1)) and torch.equal(aus[::2], batch["aus"][::2].flip(-1))


def test_targets_are_other_faces_expressions(batch):
    torch.manual_seed(1)
    target = other_expressions(batch["aus"], mix=0.0)
    own = [torch.equal(t, a) for t, a in zip(target, batch["aus"])]
    assert not all(own)
    assert sorted(target.flatten(1).sum(1).tolist()) == sorted(batch["aus"].flatten(1).sum(1).tolist())


@pytest.mark.parametrize("critic", sorted(CRITICS))
def test_each_phase_trains_its_own_network(batch, critic):
    s = system(critic=critic, critic_steps=1, warm=0, zero=1.0)
    for name, terms in s.phases(batch, 0):
        s.zero_grad()
        sum(terms.values()).backward()
        assert gradients(getattr(s, name)), f"phase {name} gives {name} no gradient"
        assert all(t.isfinite() for t in terms.values())
        if name == "critic":
            assert not gradients(s.generator)


def test_the_critic_learns_alone_first(batch):
    s = system(warm=2)
    assert [name for name, _ in s.phases(batch, 1)] == ["critic"]
    assert [name for name, _ in s.phases(batch, 2)] == ["critic", "generator"]


def test_training_needs_no_counterfactual(batch):
    assert "partner" not in batch
    assert "partner" not in CachedFaces(DrawnFaces("train", 64, 8), 8).batch(0)
    list(system().phases(batch, 5))


def test_a_partner_is_the_same_person_with_the_target_expression():
    faces = with_partners(face_numbers("val", 0, 0, 4), 64)
    assert torch.allclose(faces["aus"] + faces["asked"], faces["partner_aus"])
    background = faces["labels"] == 0
    background[:, 32:] = False                  # lower down a dropped jaw may cover it
    assert background.any()
    assert torch.equal(faces["image"][:, 0][background], faces["partner"][:, 0][background])


def test_the_oracle_learns_from_pairs():
    torch.manual_seed(0)
    s = OracleSettings.from_recipe(settings("oracle"))
    watch = watched(s)
    oracle, losses = PairedOracle(s, 64, watch), []
    assert set(oracle.optimizers()) == {"generator"}
    optimizer = oracle.optimizers()["generator"]
    for step in range(30):
        ((_, terms),) = oracle.phases(watch, step)
        optimizer.zero_grad()
        terms["pair"].backward()
        optimizer.step()
        losses.append(terms["pair"].item())
    assert losses[-1] < losses[0]


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    s = settings(save_every=2)
    run_recipe(dict(s), tmp_path / "whole")
    run_recipe(dict(s), tmp_path / "halves")
    for path in (tmp_path / "halves" / "checkpoints").glob("step-000004"):
        [f.unlink() for f in path.iterdir()] and path.rmdir()
    run_recipe(dict(s), tmp_path / "halves", resume=True)
    one, two = (load_network(tmp_path / name / "generator.safetensors")[0] for name in ("whole", "halves"))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))


def test_a_run_measures_and_leaves_a_card(tmp_path):
    run_recipe(settings(), tmp_path / "run")
    measured = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "val/alignment" in line]
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert measured and card["generator"]["head"] == "displacement" and card["steps"] == 4
    assert card["recipe"] == settings() and {"critic/score", "critic/au", "critic/norm"} <= set(card["metrics"])
