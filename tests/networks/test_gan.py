"Behaviour of expr_course.networks.gan: the two heads and every loss against a hand-computed case."
import pytest
import torch
from hypothesis import given, settings, strategies as st

from expr_course.networks.gan import (PAPER_WEIGHTS, Discriminator, MatchingDiscriminator, adversarial_loss,
                                      au_loss_fake, au_loss_real, critic_loss, gradient_penalty, hinge_critic_loss,
                                      hinge_matching_loss, matching_loss, reconstruction_loss, total_variation,
                                      trunk, wrong_aus)

few = settings(max_examples=20, deadline=None)
T = torch.tensor


@pytest.mark.parametrize("size, layers, last", [(32, 4, 2), (64, 5, 2), (96, 5, 3), (128, 6, 2), (256, 7, 2)])
def test_the_trunk_ends_on_a_small_map(size, layers, last):
    net, channels, k = trunk(4, size)
    assert len(net) == 2 * layers and k == last and channels == 4 * 2 ** min(layers - 1, 5)
    assert net(torch.zeros(1, 3, size, size)).shape == (1, channels, last, last)


def test_two_heads():
    score, read = Discriminator(34, 4, 64)(torch.zeros(3, 3, 64, 64))
    assert score.shape == (3, 1, 2, 2) and read.shape == (3, 34)
    with pytest.raises(ValueError, match="built for 64×64"):
        Discriminator(34, 4, 64)(torch.zeros(1, 3, 32, 32))
    for size in (16, 50, 100):
        with pytest.raises(ValueError, match=f"size={size}"):
            Discriminator(34, 4, size)


def test_only_the_matching_critic_hears_what_was_asked():
    torch.manual_seed(0)
    x, a, b = torch.rand(2, 3, 32, 32), torch.rand(2, 17, 2), torch.rand(2, 17, 2)
    plain, matching = Discriminator(34, 8, 32), MatchingDiscriminator(34, 8, 32)
    assert torch.equal(plain(x, a)[0], plain(x, b)[0])
    assert not torch.equal(matching(x, a)[0], matching(x, b)[0]) and torch.equal(matching(x, a)[1], matching(x, b)[1])
    with pytest.raises(ValueError, match="together with AUs"):
        matching(x)


def test_losses_by_hand():
    real, fake = T([1.0, 3.0]), T([0.0, 1.0])
    assert critic_loss(real, fake) == -1.5 and adversarial_loss(fake) == -0.5
    assert matching_loss(real, T([1.0]), fake) == -2 + 0.75
    assert hinge_critic_loss(T([2.0, 0.5]), T([-2.0, 0.0])) == 0.25 + 0.5
    assert hinge_matching_loss(T([0.0]), T([1.0]), T([-3.0])) == 1 + 1
    assert au_loss_real(T([[0.0, 1.0]]), T([[1.0, 1.0]])) == 0.5
    x = torch.zeros(1, 3, 4, 4)
    assert reconstruction_loss(x, x + 0.5, x - 0.25) == 0.75


def test_au_losses_take_both_forms():
    read, aus = torch.rand(3, 34), torch.rand(3, 17)
    assert au_loss_fake(read, aus) == au_loss_fake(read, aus[..., None].expand(3, 17, 2))


def test_total_variation_is_a_mean():
    columns = T([-1.0, 1.0]).repeat(8).expand(2, 3, 16, 16)
    assert total_variation(columns) == 2 and total_variation(torch.ones(1, 3, 8, 8)) == 0
    x = torch.rand(2, 3, 16, 16)
    assert torch.allclose(total_variation(x), total_variation(x.repeat(4, 1, 1, 1)))
    assert abs(PAPER_WEIGHTS["tv"] - 7.86) < 0.01


@few
@given(seed=st.integers(0, 99), centre=st.sampled_from([0.0, 1.0]))
def test_penalty_of_a_linear_critic_is_exact(seed, centre):
    g = torch.Generator().manual_seed(seed)
    w, real, fake = (
        torch.randn(12, generator=g), torch.randn(5, 3, 2, 2, generator=g), torch.randn(5, 3, 2, 2, generator=g),
    )
    def critic(x):
        return x.flatten(1) @ w
    expected = (w.norm() - centre) ** 2
    assert torch.allclose(gradient_penalty(critic, real, fake, centre=centre), expected, rtol=1e-4)
    assert torch.allclose(gradient_penalty(critic, real, centre=centre), expected, rtol=1e-4)


def test_penalty_counts_the_mean_over_patches():
    # one score per number: the mean's gradient is 2/4 each, norm 1
    def critic(x):
        return 2 * x.flatten(1)
    assert gradient_penalty(critic, torch.rand(3, 1, 2, 2), torch.rand(3, 1, 2, 2)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", [Discriminator, MatchingDiscriminator])
def test_penalty_trains_the_critic_and_ignores_autocast(kind):
    torch.manual_seed(0)
    d, real, fake, aus = kind(34, 8, 32), torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32), torch.rand(2, 17, 2)
    values = []
    for amp in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            values.append(gradient_penalty(d, real, fake, aus))
    assert values[0].dtype == torch.float32 and torch.equal(*values)
    values[0].backward()
    assert all(
        p.grad.abs().sum() > 0 for n, p in d.named_parameters() if n.startswith("trunk") and n.endswith("weight")
    )
    with torch.no_grad():
        fake = d(fake, aus)[0]                                # and a critic's scores can be had without a graph
    assert not fake.requires_grad


@few
@given(n=st.integers(2, 9), seed=st.integers(0, 99))
def test_wrong_aus_are_another_image_s(n, seed):
    aus = torch.arange(float(n))[:, None].expand(n, 17)
    wrong = wrong_aus(aus, torch.Generator().manual_seed(seed))
    assert (wrong != aus).all() and torch.equal(wrong.sort(0).values, aus)


def test_wrong_aus_need_two():
    with pytest.raises(ValueError, match="at least two"):
        wrong_aus(torch.zeros(1, 17))
