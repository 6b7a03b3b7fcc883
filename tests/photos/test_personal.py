"""A film of one person: frames, blocks of time, real counterfactual pairs, the training, and every way in which a film
can be unusable (lesson 18d)."""
import json
import shutil

import pytest
import torch
from hypothesis import given, settings, strategies as st

from expr_course.data.convert import convert
from expr_course.data.sources import CachedFaces
from expr_course.editing import ExpressionEditor
from expr_course.data.openface import OpenFace, open_video
from expr_course.photos.personal import (PERSON, PairSource, Frames, au_distance, counterfactuals, edit_cases,
                                         face_ellipse, film, find_pairs, judge_edits, lay_over, nearest_frames,
                                         performance, pose_distance, read_frames, score_table, start_weights,
                                         time_blocks, train)
from expr_course.training.weights import WEIGHTS, load_network, read_weights
from expr_course.training.recipe import load_recipe
from expr_course.editing.training import PairedFaces
from expr_course.training.command import main, run_recipe

quick = settings(deadline=None, max_examples=25)
COUNT, SIZE = 96, 64


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "videos", COUNT, SIZE)


@pytest.fixture(scope="module")
def folder(videos):
    return prepare(videos, videos.parent / "me")


@pytest.fixture(scope="module")
def frames(folder):
    return read_frames(folder)


@pytest.fixture(scope="module")
def pairs(frames):
    return find_pairs(frames, time_blocks(frames, gap=4)[1], most=24)


@pytest.fixture(scope="module")
def cases(frames, pairs):
    return counterfactuals(frames, pairs, 32)


def prepare(videos, out):
    open_video.cache_clear()
    convert(OpenFace(videos), out, size=SIZE, progress=False)
    return out


def recipe(folder, **changes):
    small = dict(
        data=str(folder), size=32, steps=4, faces=4, cases=8, gap=4, batch_size=4, log_every=2, save_every=2,
        sample_every=4, measure_every=2,
    )
    return load_recipe("personal", "smoke") | small | changes


def blank(numbers, video=0):
    n = len(numbers)
    return Frames(
        torch.zeros(n, 3, 8, 8, dtype=torch.uint8), torch.zeros(n, 17, 2), torch.zeros(n, 68, 2),
        torch.full((n,), video), torch.as_tensor(numbers),
    )


def head(frames, count):
    return frames.landmarks[torch.linspace(0, len(frames) - 1, count).long()]


# --- the film and the folder -------------------------------------------------------------------------------------

def test_the_film_comes_back_frame_by_frame(frames):
    assert (
        len(frames) == COUNT
        and frames.number.tolist() == list(range(1, COUNT + 1))
        and frames.image.dtype == torch.uint8
    )
    true = performance(COUNT, torch.Generator().manual_seed(0))[0]
    assert (frames.aus - true).abs().mean() < 0.03 and torch.equal(frames.aus[..., 0], frames.aus[..., 1])
    assert (frames.landmarks[:, 36:48].mean(1) - SIZE / 2).abs().max() < SIZE / 4


def test_two_films_are_two_videos(videos, tmp_path):
    for name in "ab":
        for ending in ("mp4", "csv"):
            shutil.copy(videos / f"me.{ending}", tmp_path / f"{name}.{ending}")
    both = read_frames(prepare(tmp_path, tmp_path / "out"))
    assert len(both) == 2 * COUNT and both.video.tolist() == [0] * COUNT + [1] * COUNT
    chosen = find_pairs(both, torch.arange(len(both)))
    assert (both.video[chosen[:, 0]] == both.video[chosen[:, 1]]).all()
    learn, test = time_blocks(both, gap=4)
    assert {int(both.video[i]) for i in test} == {0, 1} and len(test) + len(learn) < len(both)


# --- blocks of time ----------------------------------------------------------------------------------------------

@quick
@given(st.integers(160, 600), st.integers(4, 12), st.integers(0, 3), st.integers(0, 5), st.integers(1, 3))
def test_blocks_are_disjoint_and_keep_their_distance(n, blocks, held, gap, every):
    some = blank(torch.arange(7, 7 + n * every, every))
    learn, test = time_blocks(some, blocks, held, gap)
    apart = (some.number[learn][:, None] - some.number[test][None]).abs()
    assert apart.min() > gap and 0.05 < len(test) / n < 0.6
    assert all(torch.equal(a, b) for a, b in zip((learn, test), time_blocks(some, blocks, held, gap)))


def test_blocks_that_cannot_be():
    with pytest.raises(ValueError, match="held = 4"):
        time_blocks(blank(range(200)), held=4)
    with pytest.raises(ValueError, match="40 frames leave .* film longer"):
        time_blocks(blank(range(40)))


# --- pairs -------------------------------------------------------------------------------------------------------

@quick
@given(st.floats(0.3, 3), st.floats(-3.1, 3.1), st.floats(-100, 100), st.floats(-100, 100))
def test_pose_distance_knows_no_place_size_or_roll(frames, scale, angle, x, y):
    points = head(frames, 5).double()
    turn = torch.tensor(
        [
            [torch.tensor(angle).cos(), -torch.tensor(angle).sin()],
            [torch.tensor(angle).sin(), torch.tensor(angle).cos()],
        ]
    ).double()
    moved = scale * points @ turn.T + torch.tensor([x, y])
    before, after = pose_distance(points, points), pose_distance(points, moved)
    assert (
        torch.allclose(before, after, atol=2e-4)
        and torch.allclose(before, before.T, atol=1e-5)
        and before.diagonal().max() < 2e-4
    )


def test_pose_distance_grows_with_the_turn_of_the_head(frames):
    pose = performance(COUNT, torch.Generator().manual_seed(0))[1]
    known = torch.cdist(*2 * [torch.stack([pose["yaw"], pose["pitch"]], 1)])
    both = torch.stack([known.flatten(), pose_distance(frames.landmarks, frames.landmarks).flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.6


def test_pairs_keep_what_was_asked(frames):
    which = torch.arange(0, COUNT, 2)
    chosen = find_pairs(frames, which, 0.03, 0.6)
    i, j = chosen.T
    assert (pose_distance(frames.landmarks, frames.landmarks)[i, j] <= 0.03).all() and (
        au_distance(frames.aus, frames.aus)[i, j] >= 0.6
    ).all()
    assert not (chosen % 2).any() and len(find_pairs(frames, which, 0.03, 0.6, most=9)) == 9
    assert torch.equal(find_pairs(frames, which, most=9, seed=3), find_pairs(frames, which, most=9, seed=3))


def test_a_face_that_does_not_move_gives_no_pairs(frames):
    still = Frames(frames.image, frames.aus[:1].expand_as(frames.aus), frames.landmarks, frames.video, frames.number)
    with pytest.raises(ValueError, match="only 0 pairs among 96 frames of me.*livelier face.*`pose`.*`change`"):
        find_pairs(still, torch.arange(COUNT), name="frames of me")


def test_lay_over_undoes_a_similarity(frames):
    from expr_course.data.crops import Crop, cut, move_points
    from expr_course.data.sources import from_bytes
    image, points = from_bytes(frames.image[:4]), frames.landmarks[:4]
    crop = Crop(34.0, 30.0, 30.0, 0.995, 0.0999)
    turned, there = (
        torch.stack([cut(x, crop, SIZE) for x in image]),
        torch.stack([torch.from_numpy(move_points(p.numpy(), crop, SIZE)).float() for p in points]),
    )
    back, moved = lay_over(turned, there, points)
    inside = slice(12, -12)
    assert (moved - points).abs().max() < 1e-2
    assert (back - image)[..., inside, inside].abs().mean() < 0.25 * (turned - image)[..., inside, inside].abs().mean()
    same, _ = lay_over(image, points, points)
    assert torch.allclose(same, image, atol=1e-4)


def test_the_answer_is_the_partner_on_the_face_and_the_question_elsewhere(frames, pairs, cases):
    n = len(pairs)
    assert (
        cases["image"].shape == cases["partner"].shape == (n, 3, 32, 32)
        and cases["asked"].shape == (n, 17, 2)
        and cases["mask"].shape == (n, 1, 32, 32)
    )
    outside, inside = (cases["mask"] == 0).expand(-1, 3, -1, -1), (cases["mask"] == 1).expand(-1, 3, -1, -1)
    change = (cases["partner"] - cases["image"]).abs()
    assert change[outside].mean() < 0.003 < change[inside].mean() and 0.2 < float(cases["mask"].mean()) < 0.8
    assert torch.equal(cases["asked"], frames.aus[pairs[:, 1]] - frames.aus[pairs[:, 0]])


def test_the_ellipse_holds_its_points():
    points = torch.tensor([[[10.0, 20], [50, 20], [30, 5], [30, 60]]])
    mask = face_ellipse(points, 64)[0, 0]
    assert mask[20, 12] == 1 and mask[32, 30] == 1 and mask[0, 0] == 0 and mask[63, 63] == 0 and mask[6, 30] == 1


def test_copy_and_the_answer_itself_mark_the_scale(frames, cases):
    copy, perfect = judge_edits(cases, cases["image"]), judge_edits(cases, cases["partner"])
    assert copy["alignment"]["mean"] == 0 and copy["error"]["mean"] == 1 and copy["leak"]["mean"] == 0
    assert perfect["alignment"]["mean"] > 0.99 and perfect["error"]["mean"] < 0.05
    behind = torch.where(cases["mask"] == 0, -cases["image"], cases["partner"])
    assert judge_edits(cases, behind)["alignment"]["mean"] > 0.9 and judge_edits(cases, behind)["leak"]["mean"] > 10
    assert "copy" in score_table({"copy": copy}) and "1.000" in score_table({"copy": copy})


def test_the_nearest_frame_is_a_learnt_one(frames, cases):
    learn = torch.tensor([3, 50, 90])
    found = nearest_frames(frames, learn, frames.aus[learn], SIZE)
    from expr_course.data.sources import from_bytes
    assert torch.equal(found, from_bytes(frames.image[learn]))


def test_the_bundled_editor_points_the_right_way(cases, frames, pairs):
    bundled, _ = load_network(WEIGHTS / "relative-64" / "generator.safetensors")
    big = counterfactuals(frames, pairs, 64)
    assert judge_edits(big, edit_cases(bundled, big))["alignment"]["mean"] > 0.1


# --- the training ------------------------------------------------------------------------------------------------

def test_the_source_mirrors_every_second_pair_and_appends_drawn_ones(frames, pairs):
    plain = PairSource(frames, pairs, 32, 4, seed=1)
    batch, again = plain.batch(2), PairSource(frames, pairs, 32, 4, seed=1).batch(2)
    assert all(torch.equal(batch[k], again[k]) for k in batch)
    from expr_course.data.sources import deal
    straight = counterfactuals(frames, pairs[deal(1, len(pairs), 8, 4)], 32)
    assert torch.equal(batch["image"][0], straight["image"][0].flip(-1)) and torch.equal(
        batch["partner"][1], straight["partner"][1]
    )
    drawn = CachedFaces(PairedFaces(32, 0), 4, 2, 0)
    mixed = PairSource(frames, pairs, 32, 4, 1, drawn)
    assert len(mixed.batch(0)["image"]) == 6 and torch.equal(mixed.batch(0)["asked"][4:], drawn.batch(0)["asked"])
    state = next(iter(mixed)) and mixed.state_dict()
    other = PairSource(frames, pairs, 32, 4, 1, drawn)
    other.load_state_dict(state)
    assert other.position == 1


@pytest.fixture(scope="module")
def trained(folder):
    out = folder.parent / "model"
    return out, run_recipe(recipe(folder), out)


def test_a_run_leaves_an_editor_and_a_card_that_says_whose_it_is(trained, folder):
    out, card = trained
    editor = ExpressionEditor.from_pretrained(out, device="cpu")
    assert (
        editor.size == 32
        and "one person" in repr(editor)
        and "consent" in editor.card["private"]
        and "consent" in editor.card["weights"]["private"]
    )
    assert (
        set(card["scores"]) == {"copy", "nearest frame", "before", "after"}
        and card["scores"]["copy"]["error"]["mean"] == 1
    )
    assert card["pairs"]["test"] <= 8 and card["recipe"]["data"] == folder.name
    assert str(folder.parent) not in (out / "card.json").read_text()
    assert str(folder.parent) not in json.dumps(read_weights(out / "generator.safetensors")[1])
    # nothing lies anywhere else
    assert {p.name for p in folder.parent.iterdir()} <= {"videos", "me", "model", "again"}


def test_a_resumed_run_ends_with_the_same_bits(trained, folder):
    out, again = trained[0], folder.parent / "again"
    shutil.copytree(out, again)
    (again / "generator.safetensors").unlink()
    shutil.rmtree(again / "checkpoints" / "step-000004")     # as if it had been killed after step 2 and before step 4
    run_recipe(recipe(folder), again, resume=True)
    whole, parts = (read_weights(p / "generator.safetensors")[0] for p in (out, again))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[k], parts[k]) for k in whole)


def test_pairs_teach_what_was_asked(folder, frames, tmp_path):
    card = run_recipe(recipe(folder, size=64, steps=24, batch_size=8, rehearse=0.0, cases=24), tmp_path / "run")
    before, after = (card["scores"][k] for k in ("before", "after"))
    assert (
        after["alignment"]["mean"] > before["alignment"]["mean"]
        and after["error"]["mean"] < before["error"]["mean"] < 1.05
    )


def test_without_pairs_it_is_the_training_of_11b(folder, tmp_path):
    card = run_recipe(recipe(folder, pair=0.0, adversarial=1.0, au=20.0, warm=2, rehearse=0.0), tmp_path / "run")
    assert {"judge/score", "judge/au", "generator/adversarial", "generator/au"} <= set(
        card["metrics"]
    ) and "generator/pair" not in card["metrics"]


def test_weights_to_start_from_are_bundled_or_a_folder(tmp_path):
    assert start_weights("relative-64").is_file() and start_weights(str(tmp_path)) == tmp_path / "generator.safetensors"
    assert PERSON["start"] == "relative-64"


# --- bad input ---------------------------------------------------------------------------------------------------

def test_a_video_longer_than_its_table(videos, tmp_path):
    shutil.copy(videos / "me.mp4", tmp_path / "me.mp4")
    (tmp_path / "me.csv").write_text("\n".join((videos / "me.csv").read_text().splitlines()[:-20]) + "\n")
    out = prepare(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match=r"summary\.json, 'frames of videos without a row': 20\. .*Run OpenFace again"):
        read_frames(out)


def test_a_table_longer_than_its_video(videos, tmp_path):
    shutil.copy(videos / "me.mp4", tmp_path / "me.mp4")
    lines = (videos / "me.csv").read_text().splitlines()
    (tmp_path / "me.csv").write_text("\n".join([*lines, lines[-1].replace(f"{COUNT},", f"{COUNT + 1},", 1)]) + "\n")
    with pytest.raises(ValueError, match="rows of frames that the video does not have': 1"):
        read_frames(prepare(tmp_path, tmp_path / "out"))


def test_a_table_without_the_aus_of_the_course(videos, tmp_path):
    shutil.copy(videos / "me.mp4", tmp_path / "me.mp4")
    text = (videos / "me.csv").read_text()
    (tmp_path / "me.csv").write_text(text.replace(" AU12_r", " AU28_r"))
    with pytest.raises(ValueError, match="me.csv.*AU12_r.*17 AUs are needed"):
        prepare(tmp_path, tmp_path / "out")
    (tmp_path / "me.csv").write_text(text.replace("_r", "_x"))
    with pytest.raises(ValueError, match="me.csv.*no columns of AUs.*-aus"):
        prepare(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("changes, says", [(dict(data=""), "data is empty.*--data FOLDER"), (dict(size=128), "have 64 pixels.*--size 256"), (dict(gap=60), "film longer.*`gap`"),
                                           (dict(change=9.0), "only 0 pairs among .* learnt frames of .*`change`"), (dict(stpes=3), "stpes")])
def test_settings_that_cannot_be_met(folder, tmp_path, changes, says):
    with pytest.raises(ValueError, match=says):
        train(recipe(folder, **changes), tmp_path / "run", False)


def test_folders_that_are_none(videos, folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no prepared frames.*prepare_openface.py"):
        read_frames(videos)
    with pytest.raises(FileNotFoundError, match="holds no prepared frames"):
        read_frames(tmp_path / "nowhere")
    shutil.copytree(folder, tmp_path / "me")
    (tmp_path / "me" / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match="summary.json cannot be read"):
        read_frames(tmp_path / "me")
    (tmp_path / "me" / "summary.json").unlink()
    with pytest.raises(ValueError, match="summary.json cannot be read"):
        read_frames(tmp_path / "me")


def test_pictures_are_no_film(tmp_path):
    from layouts import drawn, openface_csv, save
    pictures, _, points, aus = drawn(3, 96)
    for k in range(3):
        save(pictures[k], tmp_path / "in" / f"{k}.png")
        openface_csv(tmp_path / "in" / f"{k}.csv", aus[k:k + 1], points[k:k + 1], video=False)
    convert(OpenFace(tmp_path / "in"), tmp_path / "out", size=64, progress=False)
    with pytest.raises(ValueError, match="is a picture and no frame of a video"):
        read_frames(tmp_path / "out")


def test_the_command_takes_a_folder(folder, tmp_path, capsys):
    assert (
        main(["personal", "--profile", "smoke", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")])
        == 2
    )
    assert "holds no prepared frames" in capsys.readouterr().err
    assert main(["demo", "--profile", "smoke", "--data", "x", "--out", str(tmp_path / "run")]) == 2
    assert "--data: unknown key 'data'" in capsys.readouterr().err
