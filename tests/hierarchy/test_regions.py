"Regions: boxes that stay inside and follow the face, groups, windows cut out and put back."
import pytest
import torch

from expr_course.action_units import sample_aus
from expr_course.faces import render, sample_identities
from expr_course.hierarchy import regions as R


@pytest.fixture(scope="module")
def faces():
    with torch.no_grad():
        return render(sample_identities(3, 5), sample_aus(3, 5))


def test_boxes_stay_inside():
    nan = float("nan")
    centres = torch.tensor([[[0, 0], [127, 127]], [[-500, 64], [64, 900]], [[64, 64], [nan, 3]]])
    boxes = R.boxes_at(centres)
    for k, region in enumerate(R.BUSY_REGIONS):
        assert (boxes.corner[:, k] >= 0).all()
        assert (boxes.corner[:, k, 0] + region.width <= 128).all()
        assert (boxes.corner[:, k, 1] + region.height <= 128).all()
    assert boxes.found.tolist() == [[True, True], [True, True], [True, False]]
    assert boxes.corner[2, 0].tolist() == [16, 40]


def test_jitter():
    torch.manual_seed(0)
    boxes = R.boxes_at(torch.tensor([[[0.0, 0.0], [127.0, 127.0]]]).expand(20, -1, -1))
    moved = R.jitter(boxes, 4, 0.0)
    assert (moved.corner >= 0).all() and torch.equal(moved.found, boxes.found)
    assert (moved.corner - boxes.corner).abs().max() <= 4 and not torch.equal(moved.corner, boxes.corner)
    assert not R.jitter(boxes, 0, 1.0).found.any() and torch.equal(R.jitter(boxes, 0, 0.0).corner, boxes.corner)


def test_boxes_of_labels_and_landmarks_agree():
    with torch.no_grad():
        many = render(sample_identities(24, 7), sample_aus(24, 7))
    a, b = R.boxes_from_landmarks(many.landmarks), R.boxes_from_groups(R.soft_groups(many.labels))
    difference = (a.corner - b.corner).float().abs()
    assert difference.mean() < 1.5 and difference[b.found].max() <= 8


def test_a_region_that_is_not_there(faces):
    labels = faces.labels.clone()
    labels[1][torch.isin(labels[1], torch.tensor([10, 11, 12]))] = 1
    boxes = R.boxes_from_groups(R.soft_groups(labels))
    assert boxes.found.tolist() == [[True, True], [True, False], [True, True]]
    there = R.placement(boxes)
    assert there[1, 1].max() == 0 and there[0, 1].max() == 1
    assert not R.boxes_from_groups(torch.zeros(1, 8, 128, 128)).found.any()


def test_stray_pixels_do_not_move_a_box(faces):
    labels = faces.labels.clone()
    labels[:, 0, 0] = 11        # thin closed lips are 100 pixels, and 2 % of them are two
    a, b = (R.boxes_from_groups(R.soft_groups(t)).corner[:, 1] for t in (faces.labels, labels))
    assert (a - b).abs().max() <= 1


def test_soft_groups(faces):
    one_hot = torch.nn.functional.one_hot(faces.labels, 19).permute(0, 3, 1, 2).float()
    groups = R.soft_groups(faces.labels)
    assert groups.shape == (3, 8, 128, 128) and groups.sum(1).max() == 1
    assert torch.equal(groups, R.soft_groups(one_hot)) and torch.equal(groups, R.soft_groups(groups))
    assert not R.soft_groups(torch.full((1, 4, 4), 255)).any()


def test_wrong_input(faces):
    with pytest.raises(ValueError, match="labels"):
        R.soft_groups(faces.labels[:, None].float())
    with pytest.raises(ValueError, match="128"):
        R.boxes_from_groups(torch.zeros(1, 8, 64, 64))


def test_cut_and_put_back():
    maps, corner = torch.rand(2, 3, 40, 50), torch.tensor([[0, 3], [18, 8]])
    window = R.cut_out(maps, corner, 32, 32)
    assert torch.equal(window[1], maps[1, :, 8:40, 18:50])
    assert torch.equal(R.put_back(maps, window, corner), maps)
    laid = R.put_back(torch.zeros_like(maps), torch.ones_like(window), corner)
    assert laid.sum() == window.numel() and laid[0, 0, 3:35, 0:32].all()


def test_feather_and_placement(faces):
    edge = R.feather(32, 32, 8)[0, 0]
    assert edge[16, 16] == 1 and edge[0, 0] < 0.01
    assert torch.equal(edge, edge.flip(0)) and torch.equal(edge, edge.T)
    boxes = R.boxes_from_landmarks(faces.landmarks)
    weights = R.placement(boxes)
    assert weights.shape == (3, 2, 128, 128) and weights.min() >= 0 and weights.max() == 1
    for k, region in enumerate(R.BUSY_REGIONS):
        inside = R.cut_out(weights[:, k:k + 1], boxes.corner[:, k], region.height, region.width)
        assert torch.allclose(inside.sum(), weights[:, k].sum())


def test_gradients_pass_through():
    maps = torch.rand(1, 2, 20, 20, requires_grad=True)
    R.put_back(maps, 2 * R.cut_out(maps, torch.tensor([[3, 4]]), 8, 8), torch.tensor([[3, 4]])).sum().backward()
    assert maps.grad[0, 0, 0, 0] == 1 and maps.grad[0, 0, 6, 6] == 2
