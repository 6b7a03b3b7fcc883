"""A model of one person: the training on pairs of a film, its card, and settings that cannot be met (lesson 18e)."""
import json
import shutil

import pytest
import torch

from expr_course.data.sources import CachedFaces, deal
from expr_course.editing import ExpressionEditor
from expr_course.editing.training import PairedFaces
from expr_course.photos.film import counterfactuals, find_pairs, time_blocks
from expr_course.photos.personal import PairSource, PersonalSettings, start_weights, train_personal
from expr_course.training.command import main, run_recipe
from expr_course.training.recipe import load_recipe
from expr_course.training.weights import read_weights


def recipe(folder, **changes):
    small = dict(data=str(folder), size=32, steps=4, faces=4, cases=8, gap=4, batch_size=4)
    small |= dict(log_every=2, save_every=2, sample_every=4, measure_every=2)
    return load_recipe("personal", "smoke") | small | changes


@pytest.fixture(scope="module")
def pairs(film):
    return find_pairs(film, time_blocks(film, gap=4)[1], most=24)


def test_the_source_mirrors_every_second_pair_and_appends_drawn_ones(film, pairs):
    plain = PairSource(film, pairs, 32, 4, seed=1)
    batch, again = plain.batch(2), PairSource(film, pairs, 32, 4, seed=1).batch(2)
    assert all(torch.equal(batch[k], again[k]) for k in batch)
    straight = counterfactuals(film, pairs[deal(1, len(pairs), 8, 4)], 32)
    assert torch.equal(batch["image"][0], straight["image"][0].flip(-1))
    assert torch.equal(batch["partner"][1], straight["partner"][1])
    drawn = CachedFaces(PairedFaces(32, 0), 4, 2, 0)
    mixed = PairSource(film, pairs, 32, 4, 1, drawn)
    assert len(mixed.batch(0)["image"]) == 6 and torch.equal(mixed.batch(0)["asked"][4:], drawn.batch(0)["asked"])
    state = next(iter(mixed)) and mixed.state_dict()
    other = PairSource(film, pairs, 32, 4, 1, drawn)
    other.load_state_dict(state)
    assert other.position == 1


@pytest.fixture(scope="module")
def trained(prepared):
    out = prepared.parent / "model"
    return out, run_recipe(recipe(prepared), out)


def test_a_run_leaves_an_editor_and_a_card_that_says_whose_it_is(trained, prepared):
    out, card = trained
    editor = ExpressionEditor.from_pretrained(out, device="cpu")
    assert editor.size == 32 and "one person" in repr(editor)
    assert "consent" in editor.card["private"] and "consent" in editor.card["weights"]["private"]
    assert set(card["scores"]) == {"copy", "nearest frame", "before", "after"}
    assert card["scores"]["copy"]["error"]["mean"] == 1
    assert card["pairs"]["test"] <= 8 and card["recipe"]["data"] == prepared.name
    assert str(prepared.parent) not in (out / "card.json").read_text()
    assert str(prepared.parent) not in json.dumps(read_weights(out / "generator.safetensors")[1])
    # nothing lies anywhere else
    assert {p.name for p in prepared.parent.iterdir()} <= {"videos", "me", "model", "again"}


def test_a_resumed_run_ends_with_the_same_bits(trained, prepared):
    out, again = trained[0], prepared.parent / "again"
    shutil.copytree(out, again)
    (again / "generator.safetensors").unlink()
    shutil.rmtree(again / "checkpoints" / "step-000004")     # as if it had been killed after step 2 and before step 4
    run_recipe(recipe(prepared), again, resume=True)
    whole, parts = (read_weights(p / "generator.safetensors")[0] for p in (out, again))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[k], parts[k]) for k in whole)


def test_pairs_teach_what_was_asked(prepared, tmp_path):
    card = run_recipe(recipe(prepared, size=64, steps=24, batch_size=8, rehearse=0.0, cases=24), tmp_path / "run")
    before, after = (card["scores"][k] for k in ("before", "after"))
    assert after["alignment"]["mean"] > before["alignment"]["mean"]
    assert after["error"]["mean"] < before["error"]["mean"] < 1.05


def test_without_pairs_it_is_the_training_of_11a(prepared, tmp_path):
    card = run_recipe(recipe(prepared, pair=0.0, adversarial=1.0, au=20.0, warm=2, rehearse=0.0), tmp_path / "run")
    assert {"critic/score", "critic/au", "generator/adversarial", "generator/au"} <= set(card["metrics"])
    assert "generator/pair" not in card["metrics"]


def test_weights_to_start_from_are_bundled_or_a_folder(tmp_path):
    assert start_weights("relative-64").is_file() and start_weights(str(tmp_path)) == tmp_path / "generator.safetensors"
    assert PersonalSettings().start == "relative-64"


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(data=""), "data is empty.*--data FOLDER"), (dict(size=128), "have 64 pixels.*--size 256"),
        (dict(gap=60), "film longer.*`gap`"), (dict(stpes=3), "stpes"), (dict(steps=0.5), "steps is 0.5"),
        (dict(change=9.0), "only 0 pairs among .* learnt frames of .*`change`"),
    ],
)
def test_settings_that_cannot_be_met(prepared, tmp_path, changes, says):
    with pytest.raises(ValueError, match=says):
        train_personal(recipe(prepared, **changes), tmp_path / "run", False)


def test_the_command_takes_a_folder(prepared, tmp_path, capsys):
    where = ["--profile", "smoke", "--out", str(tmp_path / "run")]
    assert main(["personal", "--data", str(tmp_path / "nowhere"), *where]) == 2
    assert "holds no prepared frames" in capsys.readouterr().err
    assert main(["demo", "--data", "x", *where]) == 2
    assert "--data: unknown key 'data'" in capsys.readouterr().err
