import math

import pytest
import torch

from mnist_gen.training import adversarial

REAL, FAKE = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.5])


def softplus(x):
    return math.log1p(math.exp(x))


def mean(*values):
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator"),
    [
        (adversarial.Relativistic(), mean(softplus(-2), softplus(-2.5)), mean(softplus(2), softplus(2.5))),
        (
            adversarial.NonSaturating(),
            mean(softplus(-1), softplus(-3), softplus(-1), softplus(0.5)),
            mean(softplus(1), softplus(-0.5)),
        ),
        (adversarial.Hinge(), mean(0, 0, 0, 1.5), mean(1, -0.5)),
        (
            adversarial.BCE(),
            mean(softplus(-1), softplus(-3), softplus(-1), softplus(0.5)),
            mean(softplus(1), softplus(-0.5)),
        ),
    ],
)
def test_values(loss, discriminator, generator):
    assert loss.discriminator(REAL, FAKE).item() == pytest.approx(discriminator)
    assert loss.generator(REAL, FAKE).item() == pytest.approx(generator)


def test_label_smoothing_moves_only_the_real_half():
    smooth = adversarial.BCE(real_target=0.9)
    expected = adversarial.BCE().discriminator(REAL, FAKE) + 0.1 * REAL.mean() / 2
    assert smooth.discriminator(REAL, FAKE).item() == pytest.approx(expected.item())
    assert smooth.generator(REAL, FAKE) == adversarial.BCE().generator(REAL, FAKE)


def test_penalty_of_a_known_score():
    real, fake = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    weight = torch.tensor(2.0, requires_grad=True)

    def score(images):
        return weight * images.square().sum(dim=(1, 2, 3))  # gradient 2 w x, squared norm 4 w^2 |x|^2

    real_scores, fake_scores, penalty = adversarial.scores_and_penalty(score, real, fake, None, 2.0, 4.0, share=1.0)
    assert torch.equal(real_scores, score(real))
    assert torch.equal(fake_scores, score(fake))
    size = (real.square().sum() + 2 * fake.square().sum()) / 3
    assert penalty.item() == pytest.approx(16 * size.item())
    penalty.backward()
    assert torch.allclose(weight.grad, 16 * size)  # d/dw 4 w^2 |x|^2 = 8 w |x|^2
