"Behaviour of expr_course.networks.critic: what the matching critic hears, and a trunk of which no sample sees another."
import pytest
import torch

from expr_course.networks.critic import DownBlock, MatchingCritic, residual_trunk
from expr_course.networks.gan import gradient_penalty


@pytest.mark.parametrize("size, blocks, last", [(32, 3, 4), (64, 4, 4), (96, 4, 6), (128, 5, 4)])
def test_the_trunk_ends_on_a_small_map(size, blocks, last):
    net, channels, k = residual_trunk(8, size)
    assert len(net) == 2 + blocks and k == last and channels == 8 * min(2 ** blocks, 6)
    assert net(torch.zeros(1, 3, size, size)).shape == (1, channels, last, last)


def test_sizes_that_do_not_end_on_one_are_refused():
    for size in (16, 50, 100):
        with pytest.raises(ValueError, match=f"size={size}: the critic needs"):
            residual_trunk(8, size)


def test_it_hears_what_was_asked():
    torch.manual_seed(0)
    x, a, b = torch.rand(2, 3, 32, 32), torch.rand(2, 17, 2), torch.rand(2, 17, 2)
    critic = MatchingCritic(34, 8, 32)
    (score, read), (other, same) = critic(x, a), critic(x, b)
    assert score.shape == (2, 1, 4, 4) and read.shape == (2, 34)
    assert not torch.equal(score, other) and torch.equal(read, same)
    difference = (score - other).flatten(1)
    assert torch.allclose(difference, difference[:, :1].expand_as(difference), atol=1e-6), "of the face as a whole"
    with pytest.raises(ValueError, match="together with AUs"):
        critic(x)


def test_built_again_from_its_config():
    critic = MatchingCritic(17, 16, 64, hidden=32)
    again = MatchingCritic(**critic.config)
    again.load_state_dict(critic.state_dict())
    x, aus = torch.rand(1, 3, 64, 64), torch.rand(1, 17)
    assert torch.equal(critic(x, aus)[0], again(x, aus)[0])


def test_a_sample_does_not_see_its_neighbours():
    torch.manual_seed(0)
    block, x = DownBlock(8, 16), torch.randn(3, 8, 8, 8)
    assert block(x).shape == (3, 16, 4, 4) and torch.allclose(block(x)[:1], block(x[:1]), atol=1e-6)


def test_its_penalty_can_be_trained_on():
    torch.manual_seed(0)
    critic = MatchingCritic(34, 8, 32)
    gradient_penalty(critic, torch.rand(2, 3, 32, 32), None, torch.rand(2, 17, 2), centre=0.0).backward()
    assert critic.trunk[0].weight.grad.abs().sum() > 0 and critic.embed[0].weight.grad.abs().sum() > 0
