"""Recipes: found, merged, checked (lesson 05e)."""
import json
from dataclasses import FrozenInstanceError, dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expr_course.registry import TASKS
from expr_course.training import recipe
from expr_course.training.recipe import (Settings, check_same_recipe, find_recipe, load_recipe, override,
                                         parse_setting, recipes, save_recipe)

GOOD = """
[common]
task = "demo"
description = "a test"
seed = 3
steps = 100
rate = 1e-3
widths = [8, 16]
[smoke]
steps = 5
rate = 1
[cpu]
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "mine.toml").write_text(text)
        return tmp_path / "mine.toml"
    return write


def test_profile_overrides_common(write):
    path = write(GOOD)
    assert load_recipe(path, "smoke") == dict(
        recipe="mine", profile="smoke", task="demo", description="a test", seed=3, steps=5, rate=1.0, widths=[8, 16]
    )
    assert load_recipe(str(path), "cpu")["steps"] == 100


@pytest.mark.parametrize("old, new, message", [
    ("[smoke]\nsteps", "[smoke]\nstpes", r"mine.toml \[smoke\]: unknown key 'stpes'. Did you mean 'steps'"),
    ("[smoke]", "[smok]", "unknown section or stray key 'smok'. Did you mean 'smoke'"),
    ("[common]", "x = 1\n[common]", "stray key 'x'"),
    ("[common]", "smoke = 1\n[common]", "not valid TOML|must be a section"),
    ("seed = 3", "", r"\[common\] lacks the key 'seed'"),
    ("steps = 5", "steps = 'five'", "steps is 'five'; it must be of type int"),
    ("steps = 5", "steps = true", "steps is True; it must be of type int"),
    ("steps = 5", "steps =", "mine.toml is not valid TOML"),
    ("[cpu]", "[gpu]\n[cpu]\nfoo = 1", r"\[cpu\]: unknown key 'foo'"),
])
def test_mistakes_are_named(write, old, new, message):
    assert old in GOOD
    with pytest.raises(ValueError, match=message):
        load_recipe(write(GOOD.replace(old, new)), "smoke")


def test_absent_profile_and_recipe(write):
    with pytest.raises(ValueError, match=r"no section \[gpu\]; it offers smoke, cpu"):
        load_recipe(write(GOOD), "gpu")
    with pytest.raises(ValueError, match="Unknown profile 'big'"):
        load_recipe(write(GOOD), "big")
    for name in ("nothing", "nothing.toml", "../demo"):
        with pytest.raises(FileNotFoundError, match="no recipe .*The package has .*demo"):
            find_recipe(name)


@pytest.mark.parametrize("name", recipes())
@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_every_recipe_of_the_package_loads(name, profile):
    settings = load_recipe(name, profile)
    assert settings["task"] in TASKS and settings["recipe"] == name and len(settings["description"]) < 100


@pytest.mark.parametrize("text, value", [
    ("a=1", 1), ("a=1e-3", 1e-3), ("a = true", True), ("a=[1, 2]", [1, 2]), ("a='x y'", "x y"), ("a=cuda", "cuda"),
    ("a=x=y", "x=y"),
])
def test_parse_setting(text, value):
    assert parse_setting(text) == {"a": value}
    with pytest.raises(ValueError, match="'steps 3' is not of the form key=value"):
        parse_setting("steps 3")


VALUES = st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.text(max_size=3))


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text("abcde", min_size=1, max_size=3), VALUES, min_size=1))
def test_override_with_itself_changes_nothing(values):
    assert override(values, dict(values), "here") == values
    with pytest.raises(ValueError, match="here: unknown key 'zzz'"):
        override(values, {"zzz": 1}, "here")


def test_override_leaves_its_arguments_alone():
    old, changes = {"rate": 0.5}, {"rate": 2}
    assert override(old, changes, "x") == {"rate": 2.0} and old == {"rate": 0.5} and changes == {"rate": 2}
    assert isinstance(override(old, changes, "x")["rate"], float) and isinstance(changes["rate"], int)


@dataclass(frozen=True, kw_only=True)
class Some(Settings):
    """Of the tests."""
    steps: int = 9
    rate: float = 0.1
    widths: tuple[int, ...] = (8, 8)


def test_settings_from_a_recipe(write):
    some = Some.from_recipe(load_recipe(write(GOOD), "smoke"))
    assert some == Some(recipe="mine", profile="smoke", task="demo", description="a test", seed=3, steps=5, rate=1.0,
                        widths=(8, 16))
    assert isinstance(some.rate, float) and Some.from_recipe({}) == Some()
    with pytest.raises(FrozenInstanceError):
        some.rate = 0.5


@pytest.mark.parametrize("changes, message", [
    ({"step": 1}, "Task 'demo': unknown key 'step'. Did you mean 'steps'"),
    ({"rate": "fast"}, "Task 'demo': rate is 'fast'; it must be of type float, as in rate = 0.1"),
    ({"widths": 8}, r"widths is 8; it must be of type list, as in widths = \[8, 8\]"),
    ({"steps": True}, "steps is True"),
])
def test_settings_refuse_what_they_do_not_know(changes, message):
    with pytest.raises(ValueError, match=message):
        Some.from_recipe({"task": "demo"} | changes)


def test_settings_of_another_task_are_refused(write):
    with pytest.raises(ValueError, match="Task 'demo': unknown key"):
        Settings.from_recipe(load_recipe(write(GOOD), "smoke"))


def test_resume_asks_for_the_same_settings(tmp_path):
    settings = dict(steps=5, rate=0.1, seed=0, widths=[1, 2])
    with pytest.raises(FileNotFoundError, match="no recipe.json.*leave out --resume"):
        check_same_recipe(settings, tmp_path)
    save_recipe(settings, tmp_path)
    assert json.loads((tmp_path / "recipe.json").read_text()) == settings and len(list(tmp_path.iterdir())) == 1
    check_same_recipe(settings | {"steps": 50}, tmp_path)
    with pytest.raises(ValueError, match="rate was 0.1 and is now 0.2; seed was 0 and is now 1.*another --out"):
        check_same_recipe(settings | {"rate": 0.2, "seed": 1}, tmp_path)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match="recipe.json is damaged"):
        check_same_recipe(settings, tmp_path)


def test_recipes_lie_in_the_package():
    assert recipe.RECIPES.parent.name == "expr_course" and "demo" in recipes()
