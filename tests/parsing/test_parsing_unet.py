"""The parsing U-Net, its losses, and pictures of any size (lesson 13c)."""
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from expr_course.editing import ExpressionEditor
from expr_course.networks.msf import MSFUNet
from expr_course.parsing.labels import IGNORE
from expr_course.parsing.unet import (ParsingUNet, PictureParser, check_picture, class_weights, cross_entropy,
                                      dice_loss, hard_examples, load_parser)
from expr_course.training.weights import WEIGHTS, save_network


def sample(seed, ignore=0.2):
    g = torch.Generator().manual_seed(seed)
    scores, y = 2 * torch.randn(2, 19, 6, 6, generator=g), torch.randint(0, 19, (2, 6, 6), generator=g)
    return scores, y.masked_fill(torch.rand(y.shape, generator=g) < ignore, IGNORE)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ParsingUNet(4).eval()


@pytest.mark.parametrize("height, width", [(32, 32), (64, 96), (96, 32)])
def test_any_size_that_divides(network, height, width):
    assert network(torch.zeros(2, 3, height, width)).shape == (2, 19, height, width)


def test_sizes():
    def count(width):
        return sum(p.numel() for p in ParsingUNet(width).parameters())
    assert 31.0e6 < count(64) < 31.1e6, "the original U-Net, with batch norm"
    assert sum(v.numel() for v in ParsingUNet(16).state_dict().values()) * 2 < 4 * 2**20


@pytest.mark.parametrize("image, message", [
    (torch.zeros(1, 3, 100, 64), "resize to 96×64"),
    (torch.zeros(1, 3, 64, 10), "resize to 64×32"),
    (torch.zeros(1, 1, 64, 64), "N×3×H×W"),
    (torch.zeros(3, 64, 64), "N×3×H×W"),
    (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "torch.uint8"),
])
def test_bad_pictures_are_named(network, image, message):
    with pytest.raises(ValueError, match=message):
        network(image)
    check_picture(torch.zeros(1, 3, 7, 5), 1)


def test_every_part_gets_a_gradient():
    network = ParsingUNet(4).train()
    cross_entropy(network(torch.randn(2, 3, 32, 32)), torch.randint(19, (2, 32, 32))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@given(st.integers(0, 10**6))
def test_cross_entropy_is_torchs(seed):
    scores, y = sample(seed)
    weights = torch.rand(19, generator=torch.Generator().manual_seed(seed)) + 0.1
    assert torch.isclose(cross_entropy(scores, y), F.cross_entropy(scores, y, ignore_index=IGNORE), atol=1e-5)
    assert torch.isclose(
        cross_entropy(scores, y, weights), F.cross_entropy(scores, y, weights, ignore_index=IGNORE), atol=1e-5
    )


@given(st.integers(0, 10**6))
def test_ignored_pixels_count_in_no_loss(seed):
    scores, y = sample(seed)
    other = torch.where(y[:, None] == IGNORE, torch.randn_like(scores), scores)
    for loss in (cross_entropy, dice_loss, hard_examples):
        assert torch.isclose(loss(scores, y), loss(other, y))


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss, hard_examples])
def test_nothing_labelled_costs_nothing(loss):
    scores = torch.randn(1, 19, 4, 4, requires_grad=True)
    value = loss(scores, torch.full((1, 4, 4), IGNORE))
    value.backward()
    assert value == 0 and scores.grad.abs().sum() == 0


@given(st.integers(0, 10**6))
def test_dice_by_the_formula_and_in_range(seed):
    scores, y = sample(seed, 0)
    p, t = scores.softmax(1), F.one_hot(y, 19).permute(0, 3, 1, 2).float()
    each = [
        (2 * (p[:, c] * t[:, c]).sum() + 1) / (p[:, c].sum() + t[:, c].sum() + 1) for c in range(19) if t[:, c].any()
    ]
    assert (
        torch.isclose(dice_loss(scores, y), 1 - torch.stack(each).mean(), atol=1e-5) and 0 <= dice_loss(scores, y) <= 1
    )
    assert dice_loss(100 * t, y) < 1e-5


def test_dice_is_kornias_but_for_the_one():
    """On maps where one pixel is little, and with the pictures laid side by side: kornia sums picture by picture."""
    from kornia.losses import dice_loss as theirs
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, 19, (4, 64, 64), generator=g).masked_fill(torch.rand(4, 64, 64, generator=g) < 0.2, IGNORE)
    scores = 2 * torch.randn(4, 19, 64, 64, generator=g)
    side_by_side = scores.transpose(0, 1).flatten(1, 2)[None], y.flatten(0, 1)[None]
    assert torch.isclose(dice_loss(scores, y), theirs(*side_by_side, "macro", ignore_index=IGNORE), atol=2e-3)


@given(st.integers(0, 10**6))
def test_hard_examples_by_sorting(seed):
    scores, y = sample(seed)
    each = F.cross_entropy(scores, y, reduction="none", ignore_index=IGNORE)[y != IGNORE]
    p = torch.exp(-each)
    least = max(1, int(each.numel() / 4))
    expected = each[p < 0.5] if (p < 0.5).sum() >= least else each.topk(least).values
    assert torch.isclose(hard_examples(scores, y, threshold=0.5, keep=1 / 4), expected.mean(), atol=1e-4)
    assert torch.isclose(hard_examples(scores, y, keep=1.0), each.mean(), atol=1e-5), "everything kept is cross-entropy"


def test_class_weights():
    y = torch.cat([torch.zeros(900), torch.ones(90), torch.full((10,), 4.0)]).long()
    w = class_weights(torch.cat([y, torch.full((50,), IGNORE)]))
    assert w[1] == 1 and torch.isclose(w[0] / w[1], torch.tensor(0.1**0.5)) and w[4] == 3 and w[7] == w[4]
    assert class_weights(y, power=1.0, largest=5).max() == 5 and torch.equal(class_weights(y, 0.0), torch.ones(19))
    with pytest.raises(ValueError, match="no labelled pixel"):
        class_weights(torch.full((4,), IGNORE))


@given(st.integers(20, 150), st.integers(20, 150))
def test_pictures_of_any_size(height, width):
    parser = PictureParser(ParsingUNet(2), 32).eval()
    with torch.no_grad():
        assert parser(torch.rand(1, 3, height, width)).shape == (1, 19, height, width)
    seen = parser.seen(height, width)
    assert min(seen) == 32 and all(side % 32 == 0 for side in seen)


def test_picture_parser_is_transparent_at_its_size(network):
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.equal(PictureParser(network, 64)(x), network(x))
    with pytest.raises(ValueError, match="multiple of 32"):
        PictureParser(network, 50)


def test_saved_and_loaded_and_in_the_editor(network, tmp_path):
    save_network(tmp_path / "parser.safetensors", network, size=64)
    parser = load_parser(tmp_path)
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert parser.size == 64 and torch.equal(parser(x), network(x))
    editor = ExpressionEditor(MSFUNet(34, 8), parser=parser, device="cpu")
    assert editor.parse(torch.rand(3, 50, 71)).shape == (50, 71)
    with pytest.raises(FileNotFoundError, match="expr-train"):
        load_parser(tmp_path / "nowhere")


TRAINING_WORLD = {"accelerate", "kornia", "torchmetrics", "datasets", "expr_course.training.learner",
                  "expr_course.training.checkpoint", "expr_course.parsing.training", "expr_course.data.augment"}


def test_a_parser_without_the_training_world():
    """Who loads a parser, as an editor does, loads nothing that only trainings need."""
    code = f"""
import sys
from expr_course.registry import find_part
find_part("parser")({str(WEIGHTS / "parse-bisenet")!r})
print(sorted({TRAINING_WORLD} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stdout + done.stderr
