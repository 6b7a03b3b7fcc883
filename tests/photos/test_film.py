"""A film of one person: frames, blocks of time, counterfactual pairs, and every way in which a film can be unusable."""
import math
import shutil

import pytest
import torch
from hypothesis import given, settings, strategies as st
from layouts import drawn, openface_csv, save
from toy_film import COUNT, SIZE, prepare

from expr_course.data.convert import convert
from expr_course.data.crops import Crop, cut, move_points
from expr_course.data.openface import OpenFace
from expr_course.data.sources import from_bytes
from expr_course.photos.film import (Frames, au_distance, counterfactuals, edit_cases, face_ellipse, find_pairs,
                                     lay_over, nearest_frames, performance, personal_table, pose_distance, read_frames,
                                     score_edits, time_blocks)
from expr_course.training.weights import WEIGHTS, load_network

quick = settings(deadline=None, max_examples=25)


@pytest.fixture(scope="module")
def pairs(film):
    return find_pairs(film, time_blocks(film, gap=4)[1], most=24)


@pytest.fixture(scope="module")
def cases(film, pairs):
    return counterfactuals(film, pairs, 32)


def blank(numbers, video=0):
    n = len(numbers)
    image, aus, points = torch.zeros(n, 3, 8, 8, dtype=torch.uint8), torch.zeros(n, 17, 2), torch.zeros(n, 68, 2)
    return Frames(image, aus, points, torch.full((n,), video), torch.as_tensor(numbers))


def head(frames, count):
    return frames.landmarks[torch.linspace(0, len(frames) - 1, count).long()]


# --- the film and the folder ------------------------------------------------------------------------------------------

def test_the_film_comes_back_frame_by_frame(film):
    assert film.number.tolist() == list(range(1, COUNT + 1)) and len(film) == COUNT
    assert film.image.dtype == torch.uint8
    true = performance(COUNT, torch.Generator().manual_seed(0))[0]
    assert (film.aus - true).abs().mean() < 0.03 and torch.equal(film.aus[..., 0], film.aus[..., 1])
    assert (film.landmarks[:, 36:48].mean(1) - SIZE / 2).abs().max() < SIZE / 4


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


# --- blocks of time ---------------------------------------------------------------------------------------------------

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


# --- pairs ------------------------------------------------------------------------------------------------------------

@quick
@given(st.floats(0.3, 3), st.floats(-3.1, 3.1), st.floats(-100, 100), st.floats(-100, 100))
def test_pose_distance_knows_no_place_size_or_roll(film, scale, angle, x, y):
    points = head(film, 5).double()
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    moved = scale * points @ turn.T + torch.tensor([x, y])
    before, after = pose_distance(points, points), pose_distance(points, moved)
    assert torch.allclose(before, after, atol=2e-4) and torch.allclose(before, before.T, atol=1e-5)
    assert before.diagonal().max() < 2e-4


def test_pose_distance_grows_with_the_turn_of_the_head(film):
    pose = performance(COUNT, torch.Generator().manual_seed(0))[1]
    known = torch.cdist(*2 * [torch.stack([pose["yaw"], pose["pitch"]], 1)])
    both = torch.stack([known.flatten(), pose_distance(film.landmarks, film.landmarks).flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.6


def test_pairs_keep_what_was_asked(film):
    which = torch.arange(0, COUNT, 2)
    chosen = find_pairs(film, which, 0.03, 0.6)
    i, j = chosen.T
    assert (pose_distance(film.landmarks, film.landmarks)[i, j] <= 0.03).all()
    assert (au_distance(film.aus, film.aus)[i, j] >= 0.6).all()
    assert not (chosen % 2).any() and len(find_pairs(film, which, 0.03, 0.6, most=9)) == 9
    assert torch.equal(find_pairs(film, which, most=9, seed=3), find_pairs(film, which, most=9, seed=3))


def test_a_face_that_does_not_move_gives_no_pairs(film):
    still = Frames(film.image, film.aus[:1].expand_as(film.aus), film.landmarks, film.video, film.number)
    with pytest.raises(ValueError, match="only 0 pairs among 96 frames of me.*livelier face.*`pose`.*`change`"):
        find_pairs(still, torch.arange(COUNT), name="frames of me")


def test_lay_over_undoes_a_similarity(film):
    image, points = from_bytes(film.image[:4]), film.landmarks[:4]
    crop = Crop(34.0, 30.0, 30.0, 0.995, 0.0999)
    turned = torch.stack([cut(x, crop, SIZE) for x in image])
    there = torch.stack([torch.from_numpy(move_points(p.numpy(), crop, SIZE)).float() for p in points])
    back, moved = lay_over(turned, there, points)
    def apart(x):
        return (x - image)[..., 12:-12, 12:-12].abs().mean()
    assert (moved - points).abs().max() < 1e-2 and apart(back) < 0.25 * apart(turned)
    same, _ = lay_over(image, points, points)
    assert torch.allclose(same, image, atol=1e-4)


def test_the_answer_is_the_partner_on_the_face_and_the_question_elsewhere(film, pairs, cases):
    n = len(pairs)
    assert cases["image"].shape == cases["partner"].shape == (n, 3, 32, 32)
    assert cases["asked"].shape == (n, 17, 2) and cases["mask"].shape == (n, 1, 32, 32)
    outside, inside = (cases["mask"] == 0).expand(-1, 3, -1, -1), (cases["mask"] == 1).expand(-1, 3, -1, -1)
    change = (cases["partner"] - cases["image"]).abs()
    assert change[outside].mean() < 0.003 < change[inside].mean() and 0.2 < float(cases["mask"].mean()) < 0.8
    assert torch.equal(cases["asked"], film.aus[pairs[:, 1]] - film.aus[pairs[:, 0]])


def test_the_ellipse_holds_its_points():
    points = torch.tensor([[[10.0, 20], [50, 20], [30, 5], [30, 60]]])
    mask = face_ellipse(points, 64)[0, 0]
    assert mask[20, 12] == 1 and mask[32, 30] == 1 and mask[0, 0] == 0 and mask[63, 63] == 0 and mask[6, 30] == 1


def test_copy_and_the_answer_itself_mark_the_scale(film, cases):
    copy, perfect = score_edits(cases, cases["image"]), score_edits(cases, cases["partner"])
    assert copy["alignment"]["mean"] == 0 and copy["error"]["mean"] == 1 and copy["leak"]["mean"] == 0
    assert perfect["alignment"]["mean"] > 0.99 and perfect["error"]["mean"] < 0.05
    behind = score_edits(cases, torch.where(cases["mask"] == 0, -cases["image"], cases["partner"]))
    assert behind["alignment"]["mean"] > 0.9 and behind["leak"]["mean"] > 10
    assert "copy" in personal_table({"copy": copy}) and "1.000" in personal_table({"copy": copy})


def test_the_nearest_frame_is_a_learnt_one(film, cases):
    learn = torch.tensor([3, 50, 90])
    found = nearest_frames(film, learn, film.aus[learn], SIZE)
    assert torch.equal(found, from_bytes(film.image[learn]))


def test_the_bundled_editor_points_the_right_way(cases, film, pairs):
    bundled, _ = load_network(WEIGHTS / "relative-64" / "generator.safetensors")
    big = counterfactuals(film, pairs, 64)
    assert score_edits(big, edit_cases(bundled, big))["alignment"]["mean"] > 0.1


# --- bad input --------------------------------------------------------------------------------------------------------

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


def test_folders_that_are_none(videos, prepared, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no prepared frames.*prepare_openface.py"):
        read_frames(videos)
    with pytest.raises(FileNotFoundError, match="holds no prepared frames"):
        read_frames(tmp_path / "nowhere")
    shutil.copytree(prepared, tmp_path / "me")
    (tmp_path / "me" / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match="summary.json cannot be read"):
        read_frames(tmp_path / "me")
    (tmp_path / "me" / "summary.json").unlink()
    with pytest.raises(ValueError, match="summary.json cannot be read"):
        read_frames(tmp_path / "me")


def test_pictures_are_no_film(tmp_path):
    pictures, _, points, aus = drawn(3, 96)
    for k in range(3):
        save(pictures[k], tmp_path / "in" / f"{k}.png")
        openface_csv(tmp_path / "in" / f"{k}.csv", aus[k:k + 1], points[k:k + 1], video=False)
    convert(OpenFace(tmp_path / "in"), tmp_path / "out", size=64, progress=False)
    with pytest.raises(ValueError, match="is a picture and no frame of a video"):
        read_frames(tmp_path / "out")
