"""CelebAMask-HQ: the official tree bit for bit, merged maps in either order, the official split, and damage."""
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from layouts import celebamask, drawn, openface_csv, rows, save, survives
from PIL import Image

from expr_course.data.celebamask import ALIGNED, CelebAMask, find_face, fit_labels, main, read_mapping
from expr_course.data.convert import convert
from expr_course.data.crops import crop_of_labels
from expr_course.data.label_maps import PALETTES, to_order


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("celeba") / "CelebAMask-HQ"
    return root, celebamask(root)


@pytest.mark.parametrize("grey", [False, True])
def test_bit_for_bit(tmp_path, grey):
    truth = celebamask(tmp_path, grey=grey)
    collection = CelebAMask(tmp_path)
    records = collection.walk().records
    assert len(records) == 4
    for r in records:
        assert np.array_equal(collection.label_map(r), truth[int(r.key)])


@pytest.mark.parametrize("header", [True, False])
def test_the_official_split(tmp_path, header):
    celebamask(tmp_path, header=header)
    assert {r.key: r.split for r in CelebAMask(tmp_path).walk().records} == {
        "0": "train", "1": "train", "2000": "val", "2001": "test",
    }


def test_borders_of_the_split_and_damaged_lines(tmp_path):
    path = tmp_path / "m.txt"
    path.write_text(
        "idx orig_idx orig_file\n"
        + "\n".join(f"{k} {o} {o + 1:06d}.jpg" for k, o in enumerate((162770, 162771, 182637, 182638)))
        + "\n7 nan x.jpg\n8 12\n9 13 000099.jpg\n"
    )
    found, refused = read_mapping(path)
    assert [found[k][0] for k in range(4)] == ["train", "val", "val", "test"] and len(refused) == 3
    for data in (b"", b"\xff\xfe", b"a b c\n"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="m.txt"):
            read_mapping(path)


def test_rows(tree, tmp_path):
    root, truth = tree
    summary = convert(CelebAMask(root), tmp_path, size=48, progress=False)
    stored = rows(tmp_path)
    assert {k: s["faces"] for k, s in summary["splits"].items()} == {"train": 2, "val": 1, "test": 1}
    assert all(r["labels_valid"] and not r["aus_valid"] and r["identity"] == -1 for r in stored.values())
    assert sum(summary["splits"]["train"]["pixels"]) == 2 * 48 * 48 and summary["splits"]["train"]["how"] == {
        "eyes and mouth of the labels": 2
    }


def merged(root, kind, order="official"):
    pictures, labels, *_ = drawn(4, 96)
    for k, (picture, m) in enumerate(zip(pictures, labels)):
        save(picture, root / "images" / f"f{k}.jpg", quality=95)
        m = to_order(m, order)
        image = Image.fromarray(m)
        if kind == "indices":
            image = image.convert("P")
            image.putpalette(sum(PALETTES["CelebAMask-HQ"], ()))
        elif kind != "numbers":
            image = Image.fromarray(np.array(PALETTES[kind], np.uint8)[m])
        (root / "maps").mkdir(exist_ok=True)
        image.save(root / "maps" / f"f{k}.png")
    return labels


@pytest.mark.parametrize("kind", ["numbers", "indices", *PALETTES])
@pytest.mark.parametrize("order, other", [("official", "second"), ("second", "official")])
def test_merged_maps(tmp_path, kind, order, other):
    truth = merged(tmp_path, kind, order)
    collection = CelebAMask(tmp_path, labels=Path("maps"), images="images", order=order)
    records = collection.walk().records
    for r in records:
        assert np.array_equal(collection.label_map(r), truth[int(r.key[1:])])
    with pytest.raises(ValueError, match=f"Say order '{order}'"):
        CelebAMask(tmp_path, labels=Path("maps"), images="images", order=other).walk()


def test_identities_and_aus(tree, tmp_path):
    root, _ = tree
    (tmp_path / "identity_CelebA.txt").write_text("119614.jpg 7\n099095.jpg 7\n170001.jpg 8\n190001.jpg 9\n")
    _, _, points, aus = drawn(4, 96)
    for k, n in enumerate((0, 1, 2000)):
        openface_csv(tmp_path / "t" / f"{n}.csv", aus[k:k + 1], points[k:k + 1], video=False)
    collection = CelebAMask(root, identities=tmp_path / "identity_CelebA.txt", aus=tmp_path / "t")
    summary = convert(collection, tmp_path / "out", size=32, progress=False)
    stored = rows(tmp_path / "out")
    assert summary["splits"]["train"]["people"] == 1 and summary["left out"] == {"with AUs": 3, "without AUs": 1}
    assert (
        np.allclose(stored["celebamask/2000"]["aus"], aus[2][:, None], atol=0.001)
        and not stored["celebamask/2001"]["aus_valid"]
    )
    (tmp_path / "identity_CelebA.txt").write_text("119614.jpg 7\n170001.jpg 7\n")
    with pytest.raises(ValueError, match="one split only"):
        convert(collection, tmp_path / "leak", size=32, progress=False)


def test_faces_whose_eyes_nobody_labelled():
    labels = drawn(4, 96)[1][0]
    crop, how = find_face(labels)
    assert crop == crop_of_labels(labels) and "labels" in how
    crop, how = find_face(np.ones((512, 512), np.uint8))
    assert "alignment" in how and 230 < crop.half < 270 and 250 < crop.x < 260 and ALIGNED[2][0] == 0.5


def test_sizes_of_maps():
    m = drawn(4, 96)[1][0]
    assert np.array_equal(fit_labels(m, 192, 192)[::2, 1::2], m) and fit_labels(m, 64, 64).shape == (64, 64)
    with pytest.raises(ValueError, match="cannot lie"):
        fit_labels(m, 96, 192)


def test_wrong_folders(tmp_path, tree):
    with pytest.raises(FileNotFoundError, match="--images"):
        CelebAMask(tmp_path).walk()
    with pytest.raises(FileNotFoundError, match="--labels"):
        CelebAMask(tree[0], labels=Path("nowhere")).walk()


def test_damaged_trees(tree, tmp_path, cases):
    sound_out = tmp_path / "sound"
    convert(CelebAMask(tree[0]), sound_out, size=16, progress=False)
    def touched(path):
        number = Path(path).stem.split("_")[0].removeprefix("x y")
        return lambda source: number.isdigit() and source == f"celebamask/{int(number)}"
    survives(tree[0], CelebAMask, rows(sound_out), tmp_path, cases(24, 500), touched)


def test_the_command(tree, tmp_path, capsys, monkeypatch):
    main([str(tree[0]), str(tmp_path / "out"), "--size", "32", "--quiet", "--processes", "1"])
    assert "train: 2 faces" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="prepare_celebamask: .*--images"):
        main([str(tmp_path), str(tmp_path / "x"), "--quiet"])
    for name in ("celebamask", "openface", "affectnet", "rafd"):
        monkeypatch.setattr(sys, "argv", [f"prepare_{name}.py", "--help"])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(Path(__file__).parents[2] / "data_scripts" / f"prepare_{name}.py"), run_name="__main__")
        said = capsys.readouterr().out
        assert stop.value.code == 0 and all(option in said for option in ("--size", "--limit", "--processes", "--aus"))
