"Muon: orthogonal steps for kernels, AdamW for the rest, and a state that comes back exactly."
import pytest
import torch

from expr_course.networks.muon import LEAST, MuonAdamW, muon_for, orthogonal, split_parameters
from expr_course.networks.trunk import Trunk, TrunkSettings
from expr_course.training.checkpoint import optimizer_parts, restore_optimizer

SMALL = TrunkSettings(16, 16, 24, 32, 1)


def test_orthogonal():
    torch.manual_seed(0)
    for shape in ((16, 40), (40, 16), (3, 24, 24)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape), 6))
        assert values.median() > 0.6 and values.max() < 1.4
        assert len(shape) == 3 or values.min() > 0.4     # square matrices of chance have values near 0
    assert not orthogonal(torch.zeros(4, 8)).any()
    assert orthogonal(torch.randn(4, 8, dtype=torch.float64)).dtype == torch.float64


def test_orthogonal_does_not_know_lengths_or_turns():
    torch.manual_seed(1)
    matrix = torch.randn(24, 60)
    made = orthogonal(matrix)
    assert torch.allclose(orthogonal(100 * matrix), made, atol=0.05)
    assert torch.allclose(orthogonal(matrix.T), made.T, atol=0.05)


def test_split():
    network = Trunk(SMALL)
    hidden, rest = split_parameters(network)
    assert all(p.ndim == 4 and min(p.shape[:2]) >= LEAST for p in hidden)
    assert len(hidden) + len(rest) == len(list(network.parameters()))
    assert not {id(p) for p in hidden} & {id(p) for p in rest}
    network.down.weight.requires_grad_(False)
    assert len(split_parameters(network)[0]) == len(hidden) - 1


def test_adam_step_is_torchs():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(5, 3)) for _ in range(2))
    a = MuonAdamW([dict(params=[ours])], lr=0.01, decay=0.1)
    b = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.98), weight_decay=0.1)
    for _ in range(5):
        ours.grad = torch.randn(5, 3)
        theirs.grad = ours.grad.clone()
        a.step()
        b.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_step_has_adams_size():
    torch.manual_seed(0)
    kernel = torch.nn.Parameter(torch.zeros(48, 32, 3, 3))
    optimizer = MuonAdamW([dict(params=[kernel], muon=True, lr=1e-3)])
    kernel.grad = 1e-6 * torch.randn_like(kernel)
    optimizer.step()
    assert 0.1e-3 < kernel.detach().square().mean().sqrt() < 0.3e-3


def test_state_comes_back():
    torch.manual_seed(0)
    network = Trunk(SMALL)
    optimizer = muon_for(network)
    for p in network.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    tensors, rest = optimizer_parts(optimizer)
    tensors = {name: value.clone() for name, value in tensors.items()}
    other = muon_for(network)
    restore_optimizer(other, tensors, rest, "here")
    before = [p.clone() for p in network.parameters()]
    optimizer.step()
    after = [p.clone() for p in network.parameters()]
    with torch.no_grad():
        for p, value in zip(network.parameters(), before):
            p.copy_(value)
    other.step()
    assert all(torch.equal(p, value) for p, value in zip(network.parameters(), after))


def test_wrong_use():
    with pytest.raises(ValueError, match="Muon"):
        MuonAdamW([dict(params=[torch.nn.Parameter(torch.zeros(3))], muon=True)])
    kernel = torch.nn.Parameter(torch.ones(24, 24, 1, 1))
    optimizer = MuonAdamW([dict(params=[kernel], muon=True)])
    optimizer.step()
    assert torch.equal(kernel, torch.ones(24, 24, 1, 1))
