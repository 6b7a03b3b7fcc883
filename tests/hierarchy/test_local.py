"The hierarchical generator: what must hold whatever was learnt."
import pytest
import torch

from expr_course.action_units import au_vector, sample_aus
from expr_course.faces import render, sample_identities
from expr_course.hierarchy import regions as R
from expr_course.hierarchy.local import HierarchicalGenerator
from expr_course.networks.trunk import Trunk
from expr_course.networks.unet import apply_parts
from expr_course.registry import find_network
from expr_course.training.weights import load_network, save_network


SMALL = dict(fine=24, coarse=24, blocks=1, local_fine=24, local_coarse=24, local_blocks=1)


def awake(network):
    "Random numbers instead of the zeros of the last layers"
    for module in network.modules():
        if isinstance(module, Trunk):
            for head in (module.flow, module.paint):
                torch.nn.init.normal_(head.weight, 0, 0.3)
    return network.eval()


@pytest.fixture(scope="module")
def faces():
    with torch.no_grad():
        return render(sample_identities(3, 5), sample_aus(3, 5))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return awake(HierarchicalGenerator(**SMALL))


@pytest.mark.parametrize("size", [128, 64, 200])
@torch.no_grad()
def test_zero_edit_to_the_bit(network, faces, size):
    image = torch.nn.functional.interpolate(faces.image, (size, size), mode="nearest")
    for labels in (None, faces.labels):
        assert torch.equal(network(image, torch.zeros(3, 17, 2), labels), image)
    v = torch.zeros(3, 17, 2)
    v[1] = au_vector({"AU12": 0.5})
    out = network(image, v, faces.labels)
    assert torch.equal(out[0], image[0]) and torch.equal(out[2], image[2]) and not torch.equal(out[1], image[1])


@torch.no_grad()
def test_untrained_is_the_identity(faces):
    fresh = HierarchicalGenerator(**SMALL).eval()
    parts = fresh.parts(faces.image, sample_aus(3, 1), faces.labels)
    assert not parts.flow.any() and not parts.paint.any()
    assert (apply_parts(faces.image, parts) - faces.image).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(32, 32), (100, 100), (256, 256), (128, 96), (300, 200)])
@torch.no_grad()
def test_any_size(network, faces, shape):
    image = torch.nn.functional.interpolate(faces.image[:1], shape, mode="bilinear")
    labels = torch.nn.functional.interpolate(faces.labels[:1, None].float(), shape, mode="nearest")[:, 0].long()
    out = network(image, sample_aus(1, 1), labels)
    assert out.shape == image.shape and out.isfinite().all() and out.abs().max() <= 1


@torch.no_grad()
def test_flow_means_the_same_at_twice_the_size(network, faces):
    v = sample_aus(3, 1)
    big = torch.nn.functional.interpolate(faces.image, scale_factor=2, mode="bilinear")
    a, b = network.parts(faces.image, v, faces.labels).flow, network.parts(big, v, faces.labels).flow
    assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.9


def test_wrong_input(network, faces):
    v = sample_aus(3, 1)
    with pytest.raises(ValueError, match="pictures"):
        network(faces.image[0], v)
    with pytest.raises(ValueError, match="pictures"):
        network(faces.image.byte(), v)
    with pytest.raises(ValueError, match="labels"):
        network(faces.image, v, faces.labels[:, None].float())
    with pytest.raises(ValueError, match="AUs"):
        network(faces.image, v[:, :3])


@torch.no_grad()
def test_no_region_found(network, faces):
    v = sample_aus(3, 1)
    alone = network.parts(faces.image, v)
    nothing = network.parts(faces.image, v, torch.zeros_like(faces.labels))
    assert torch.equal(alone.flow, nothing.flow) and torch.equal(alone.paint, nothing.paint)


@torch.no_grad()
def test_one_region_found(network, faces):
    "The other network rules where its region is missing, and in one face only"
    v, labels = torch.full((3, 17, 2), 0.2), faces.labels.clone()
    labels[1][torch.isin(labels[1], torch.tensor([10, 11, 12]))] = 1
    groups = R.soft_groups(labels)
    boxes = R.boxes_from_groups(groups)
    assert boxes.found.tolist() == [[True, True], [True, False], [True, True]]
    alone, both = network.parts(faces.image, v), network.parts(faces.image, v, labels)
    there = R.placement(boxes)
    free = there.sum(1, keepdim=True) == 0
    for a, b in ((alone.flow, both.flow), (alone.paint, both.paint)):
        assert torch.allclose(torch.where(free, a - b, 0), torch.zeros(()), atol=1e-7)
        assert ((a - b) * ~free).abs().amax((1, 2, 3)).min() > 0
    assert there[1, 1].max() == 0 and there[0, 1].max() == 1


@torch.no_grad()
def test_face_cut_by_the_border(network, faces):
    "Half of the face outside, once on each side: a picture comes back, and zero is zero"
    for shift in (60, -60):
        image, labels = faces.image.roll(shift, -1), faces.labels.roll(shift, -1)
        if shift > 0:
            labels[..., :shift] = 0
        else:
            labels[..., shift:] = 0
        assert network(image, sample_aus(3, 1), labels).isfinite().all()
        assert torch.equal(network(image, torch.zeros(3, 17), labels), image)


@torch.no_grad()
def test_weights_come_back(tmp_path, network, faces):
    save_network(tmp_path / "generator.safetensors", network)
    other, about = load_network(tmp_path / "generator.safetensors")
    assert about["network"] == "HierarchicalGenerator"
    v = sample_aus(3, 1)
    assert torch.allclose(other(faces.image, v, faces.labels), network(faces.image, v, faces.labels), atol=1e-5)


@torch.no_grad()
def test_given_boxes_count_and_not_the_labels(network, faces):
    v, boxes = sample_aus(3, 1), R.boxes_from_landmarks(faces.landmarks)
    nowhere = boxes._replace(found=torch.zeros_like(boxes.found))
    assert torch.equal(network.parts(faces.image, v, faces.labels, nowhere).flow, network.parts(faces.image, v).flow)
    there = network.parts(faces.image, v, faces.labels, boxes)
    assert not torch.equal(there.flow, network.parts(faces.image, v, faces.labels, nowhere).flow)


def test_the_registry_builds_it(network):
    assert find_network("HierarchicalGenerator") is HierarchicalGenerator
    assert HierarchicalGenerator(**network.config).config == network.config
