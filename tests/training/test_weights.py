"""Weights: whole or not at all, refused when they cannot be trusted, rebuilt exactly."""
import json
import os
import stat
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from expr_course.faces import VERSION
from expr_course.networks.msf import MSFUNet
from expr_course.networks.unet import ConditionalUNet
from expr_course.training.command import AUReader
from expr_course.training.weights import (WEIGHTS, describe, fingerprint, load_network, read_card, read_weights,
                                          save_network)

SMALL = dict(n_aus=34, width=4, head="displacement")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MSFUNet(**SMALL).eval()


@pytest.fixture
def stored(network, tmp_path):
    return save_network(tmp_path / "generator.safetensors", network, size=64)


def damaged(path, **changes):
    """The file again, with another description."""
    tensors, about = read_weights(path)
    about = {k: v for k, v in (about | changes).items() if v is not ...}
    path.write_bytes(save(tensors, metadata={"about": json.dumps(about)}))
    return path


# --- there and back ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cls, config", [
    (MSFUNet, SMALL), (MSFUNet, dict(n_aus=17, width=4, head="direct", skips="msf_simple", after_norm=False)),
    (ConditionalUNet, dict(n_aus=34, width=4, head="attention", skips="none"))])
def test_comes_back_exactly(cls, config, tmp_path):
    network = cls(**config).eval()
    again, about = load_network(save_network(tmp_path / "a.safetensors", network, note="hello"))
    assert type(again) is cls and again.config == network.config and not again.training
    assert about["note"] == "hello" and about["faces"] == VERSION
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]) and again.state_dict()[name].dtype == torch.float32
    x, v = torch.rand(1, 3, 32, 32) * 2 - 1, torch.rand(1, config["n_aus"])
    assert torch.equal(network(x, v), again(x, v))
    assert all(p.requires_grad and p.device.type == "cpu" for p in again.parameters())


def test_the_reader_of_lesson_05g_comes_back(tmp_path):
    reader = AUReader(size=64, width=4).eval()
    again, _ = load_network(save_network(tmp_path / "reader.safetensors", reader))
    x = torch.rand(2, 3, 64, 64)
    assert type(again) is AUReader and torch.equal(again(x), reader(x))


def test_half_is_half_and_hardly_different(network, tmp_path):
    full, half = save_network(tmp_path / "full", network), save_network(tmp_path / "half", network, half=True)
    assert half.stat().st_size < 0.55 * full.stat().st_size
    again, _ = load_network(half)
    for a, b in zip(network.state_dict().values(), again.state_dict().values()):
        assert b.dtype == torch.float32 and torch.allclose(a, b, atol=1e-3)


def test_loading_draws_no_random_numbers(stored):
    state = torch.get_rng_state()
    load_network(stored)
    assert torch.equal(state, torch.get_rng_state())


def test_saving_changes_nothing(network, tmp_path):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    save_network(tmp_path / "a", network, half=True)
    assert all(torch.equal(before[k], v) and v.dtype == before[k].dtype for k, v in network.state_dict().items())


# --- written whole or not at all ---------------------------------------------------------------------------------

def test_a_failed_write_leaves_the_old_file(network, stored, monkeypatch):
    before = stored.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_network(stored, network, half=True)
    assert stored.read_bytes() == before and os.listdir(stored.parent) == [stored.name]


@pytest.mark.skipif(os.name == "nt", reason="POSIX file modes")
def test_others_may_read_what_the_umask_allows(stored):
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(stored.stat().st_mode) == 0o666 & ~mask


def test_makes_folders(network, tmp_path):
    assert save_network(tmp_path / "a" / "b" / "c.safetensors", network).is_file()


# --- refused -----------------------------------------------------------------------------------------------------

def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors.*expr-train"):
        read_weights(tmp_path / "nothing.safetensors")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        read_weights(tmp_path)


@pytest.mark.parametrize("content", [
    b"", b"dear diary", b"\xff" * 8, bytes(1000), (10**9).to_bytes(8, "little") + b"{}",
])
def test_no_safetensors_at_all(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.safetensors.*(damaged|does not say)"):
        load_network(path)


def test_cut_anywhere(stored, cases):
    data = stored.read_bytes()
    for k in range(cases(15, 300)):
        stored.write_bytes(data[:len(data) * k // cases(15, 300)])
        with pytest.raises(ValueError, match="damaged"):
            load_network(stored)


@given(st.data())
def test_any_flipped_bit_is_noticed_or_harmless(data):
    """In the numbers: always noticed. In the header: noticed, or the network is the same."""
    import tempfile
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = save_network(f"{folder}/a.safetensors", ConditionalUNet(17, 1, "direct", "none"))
        healthy, good = bytearray(path.read_bytes()), read_weights(path)[0]
        start = 8 + int.from_bytes(healthy[:8], "little")
        place = data.draw(st.one_of(st.integers(0, len(healthy) - 1), st.integers(start, len(healthy) - 1)))
        healthy[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(healthy)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                network, _ = load_network(path)
        except ValueError as error:
            assert "a.safetensors" in str(error)
        else:
            assert place < start and all(torch.equal(good[k], v) for k, v in network.state_dict().items())


def test_foreign_safetensors(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="does not say which network.*save_network"):
        load_network(tmp_path / "a.safetensors")


@pytest.mark.parametrize("changes, message", [
    (dict(network="system"), "'system'.*MSFUNet"),
    (dict(network=["MSFUNet"]), "does not say"),
    (dict(config=[1]), "does not say"),
    (dict(faces=...), "does not say"),
    (dict(config={**SMALL, "head": "two"}), "no head 'two'"),
    (dict(config={**SMALL, "colour": 1}), "colour"),
    (dict(config={**SMALL, "width": 8}), "do not fit"),
    (dict(config={**SMALL, "width": 10**7}), "do not fit"),
    (dict(config={**SMALL, "width": -1}), "do not fit"),
    (dict(config={**SMALL, "width": "x"}), "do not fit"),
    (dict(config={**SMALL, "n_aus": 17}), "do not fit"),
    (dict(network="ConditionalUNet"), "do not fit"),
    (dict(sha256="00"), "fingerprint"),
])
def test_description_that_does_not_fit(stored, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_network(damaged(stored, **changes))
    assert str(stored) in str(caught.value) and len(str(caught.value)) < 900


def test_weights_without_a_fingerprint_load(stored):
    load_network(damaged(stored, sha256=...))


def test_another_version_of_the_faces_warns(stored):
    with pytest.warns(UserWarning, match=rf"trained on drawn faces 0\.1, this package draws {VERSION}.*train it again"):
        load_network(damaged(stored, faces="0.1"))


def test_the_same_version_does_not_warn(stored):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_network(stored)


@pytest.mark.parametrize("name", ["os.system", "", "networks.msf:MSFUNet"])
def test_only_the_list_is_built(stored, name):
    with pytest.raises(ValueError, match=f"do not fit.*unknown network {name!r}: this package has"):
        load_network(damaged(stored, network=name))


# --- fingerprint and card ----------------------------------------------------------------------------------------

def test_fingerprint():
    a = {"x": torch.arange(6.).reshape(2, 3), "y": torch.tensor(1.0), "z": torch.tensor([True])}
    assert fingerprint(a) == fingerprint(dict(reversed(a.items())))
    # the values count, not how they lie in memory
    assert fingerprint(a) == fingerprint(a | {"x": a["x"].t().contiguous().t()})
    for changed in (
        a | {"y": torch.tensor(1.0000001)}, a | {"w": a["x"]}, {"x": a["x"], "yy": a["y"], "z": a["z"]},
        a | {"y": torch.tensor(1.0).half()},
    ):
        assert fingerprint(changed) != fingerprint(a)


def test_card(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"card\.json.*expr-train"):
        read_card(tmp_path)
    for content in (b"{", b"[1]", b"\xff\xfe", b""):
        (tmp_path / "card.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"card\.json"):
            read_card(tmp_path)
    (tmp_path / "card.json").write_text('{"steps": 12}')
    assert read_card(tmp_path) == {"steps": 12}


def test_describe():
    card = dict(
        recipe=dict(recipe="relative", profile="cpu"), seed=3, steps=10_500, seconds=1500.0, device="cpu (8 threads)",
        data="drawn faces", metrics={"val/error": 0.8512, "val/leak": None}, versions={"torch": "2.14.1"},
    )
    text = describe(card)
    for part in (
        "relative", "cpu", "seed 3", "drawn faces", "10,500 steps, 25 minutes", "val/error 0.851", "torch 2.14.1",
    ):
        assert part in text
    assert "leak" not in text and describe({})


def test_bundled_weights():
    """Every folder of the package: loads without a warning, has a card, keeps to its budget."""
    folders = [path for path in WEIGHTS.glob("*") if path.is_dir()] if WEIGHTS.is_dir() else []
    if not folders:
        pytest.skip("no bundled weights in this checkout")
    for folder in folders:
        assert read_card(folder)["steps"] > 0
        for path in folder.glob("*.safetensors"):
            assert path.stat().st_size <= 16 * 2**20
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                load_network(path)
