import copy

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import open_dict
from torch import nn

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.errors import UserError
from mnist_gen.gan import GAN
from mnist_gen.networks.decoders import Decoder
from mnist_gen.networks.encoders import Encoder
from mnist_gen.runs import pretrained
from mnist_gen.training.adversarial import scores_and_penalty
from tests.conftest import composed
from tests.gan.conftest import TINY_MODEL, Step, gan


def weights(module: nn.Module, prefix: str) -> set[str]:
    return {f"{prefix}.{name}" for name, _ in module.named_parameters()}


@pytest.mark.parametrize(
    "experiment", ["cgan_embed20", "cgan_embed20_after", "cgan_onehot", "cgan_embed65", "gan_plain"]
)
def test_a_step_moves_both_networks_and_the_average(experiment, monkeypatch):
    model = gan("model.r1=1.0", experiment=experiment)
    step = Step(model, monkeypatch)
    results = step()
    assert set(results) == {"loss_d", "loss_g", "penalty"}
    assert all(value.isfinite() and not value.requires_grad for value in results.values())
    moved = step.moved()
    fixed = {"generator.label_vectors.weight", "averaged.label_vectors.weight", "discriminator.label_vectors.weight"}
    fixed = fixed if experiment == "cgan_onehot" else set()
    assert weights(model.generator, "generator") - fixed <= moved
    assert weights(model.averaged, "averaged") - fixed <= moved
    bias = {"discriminator.score.bias"}  # a relativistic loss sees only differences of scores
    assert weights(model.discriminator, "discriminator") - fixed - bias <= moved
    assert not moved & fixed


def latent_gan(*overrides) -> GAN:
    """A latent-space GAN that starts from a small autoencoder."""
    cfg = composed(
        "experiment=gan_latent", "model.generator.mapping.hidden=8", "model.discriminator.hidden=8", *overrides
    )
    model = instantiate(pretrained.complete(cfg).model)
    model.start_from(Autoencoder(64, Encoder, Decoder, torch.optim.Adam, 0, 1.0))
    return model


def test_a_latent_space_step_leaves_the_autoencoder_unchanged(monkeypatch):
    model = latent_gan()
    assert model.starts_from == ["pretrained"]
    step = Step(model, monkeypatch)
    assert all(value.isfinite() for value in step().values())
    moved = step.moved()
    assert weights(model.generator, "generator") <= moved
    assert not any(name.startswith("space.") for name in moved)
    assert model.sample(count=3).shape == (3, 1, 32, 32)


@pytest.mark.parametrize(
    "words", [("model/generator=autoencoder",), ("model/discriminator=images",), ("model/space=pixels",)]
)
def test_networks_of_different_spaces_are_refused(words):
    cfg = pretrained.complete(composed("experiment=gan_latent", *words))
    with pytest.raises(InstantiationException, match="must all be of images, or all of latents"):
        instantiate(cfg.model)


def test_a_frozen_decoder_keeps_its_batch_statistics(monkeypatch):
    words = ("pretrained=autoencoder_wide", "pretrained.overrides=['model.decoder.channels=4']")
    cfg = composed("experiment=gan_decoder", "model.generator.start=pretrained_frozen", *words)
    model = instantiate(pretrained.complete(cfg).model)
    step = Step(model, monkeypatch)
    step()
    assert not any("decoder" in name for name in step.moved())
    assert any(name.startswith("generator.mapping") and "running" in name for name in step.moved())


def test_a_model_on_an_autoencoder_needs_one():
    with pytest.raises(UserError, match="choose one, such as pretrained=autoencoder"):
        pretrained.complete(composed("experiment=gan_plain", "model/generator=autoencoder"))


@pytest.mark.parametrize("label", ["onehot", "embedding"])
def test_a_latent_space_gan_can_be_conditional(label, monkeypatch):
    model = latent_gan(f"model.label={label}")
    assert Step(model, monkeypatch)()["penalty"] > 0
    assert model.sample(digit=3, count=2).shape == (2, 1, 32, 32)


@pytest.mark.parametrize("start", ["pretrained", "pretrained_frozen", "scratch"])
def test_a_generator_with_an_autoencoders_decoder(start, monkeypatch):
    torch.manual_seed(0)
    cfg = composed("experiment=gan_decoder", f"model.generator.start={start}", "model.discriminator.channels=2")
    model = instantiate(pretrained.complete(cfg).model)
    assert model.starts_from == (["pretrained"] if start != "scratch" else [])
    autoencoder = Autoencoder(64, Encoder, Decoder, torch.optim.Adam, 0, 1.0)
    if model.starts_from:
        model.start_from(autoencoder)
        for generator in (model.generator, model.averaged):
            assert torch.equal(generator.decoder[0].weight, autoencoder.decoder[0].weight)
    step = Step(model, monkeypatch)
    step()
    decoder = {name for name in step.moved() if name.startswith("generator.decoder")}
    assert decoder == (set() if start == "pretrained_frozen" else weights(model.generator.decoder, "generator.decoder"))


def test_each_step_updates_one_network_only(monkeypatch):
    model = gan()
    step = Step(model, monkeypatch)
    descended: list = []
    monkeypatch.setattr("mnist_gen.gan.gan.descend", lambda module, *arguments: descended.append(arguments))
    step()
    (first, loss_d, *_), (second, loss_g, *_) = descended
    for optimizer, network in ((first, model.discriminator), (second, model.generator)):
        assert {*optimizer.param_groups[0]["params"]} == {*network.parameters()}
    assert all(
        grad is None for grad in torch.autograd.grad(loss_d, list(model.generator.parameters()), allow_unused=True)
    )
    assert all(grad is not None for grad in torch.autograd.grad(loss_g, list(model.generator.parameters())))


@pytest.mark.parametrize("loss", ["relativistic", "non_saturating", "hinge", "bce"])
def test_every_loss_trains(loss, monkeypatch):
    step = Step(gan(f"model/loss={loss}"), monkeypatch)
    assert all(value.isfinite() for value in step().values())


def test_without_weights_there_is_no_penalty(monkeypatch):
    results = Step(gan("model.r1=0.0", "model.r2=0.0"), monkeypatch)()
    assert results["penalty"] == 0


def test_penalty_is_half_weight_times_squared_gradient():
    model = gan()
    real, fake, labels = torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32), torch.arange(4)
    *_, penalty = scores_and_penalty(model.discriminator, real, fake, labels, r1=3.0, r2=5.0, share=1.0)

    def norm(images):
        images = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model.discriminator(images, labels).sum(), images)
        return gradient.square().sum() / len(images)

    assert penalty.item() == pytest.approx((1.5 * norm(real) + 2.5 * norm(fake)).item(), rel=1e-4)


def test_the_penalty_falls_to_a_share_of_its_weight(monkeypatch):
    after = []
    for words in (
        ["model.r1=1.0", "model.r2=1.0", "model.anneal=0.25"],
        ["model.r1=0.5", "model.r2=0.5", "model.anneal=1.0"],
    ):
        model = gan(*words)
        model.batches.fill_(50)
        model.run_batches = 100  # half-way, a quarter has become a half
        step = Step(model, monkeypatch)
        torch.manual_seed(1)
        step()
        after.append(copy.deepcopy(model.discriminator.state_dict()))
    one, other = after
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
    assert "discriminator.score.weight" in step.moved()


def test_mismatch_compares_right_and_wrong_labels_of_real_images(monkeypatch):
    model = gan("model.mismatch=0.5")
    real, labels = torch.rand(8, 1, 32, 32), torch.arange(8)
    seen: list = []
    forward = model.discriminator.forward
    monkeypatch.setattr(model.discriminator, "forward", lambda x, y: seen.append((x, y)) or forward(x, y))
    term = model._mismatch(real, labels, forward(real, labels))
    ((images, wrong),) = seen
    assert torch.equal(images, real[:2])
    assert (wrong != labels[:2]).all()
    expected = model.loss.discriminator(forward(real[:2], labels[:2]), forward(images, wrong)) / 2
    assert term.item() == pytest.approx(expected.item())


def test_samples_come_from_latents_of_the_given_scale():
    models = [gan(f"model.latent_scale={scale}") for scale in (1.0, 1.5)]
    drawn = [model.latents(4, torch.Generator().manual_seed(1)) for model in models]
    assert torch.equal(drawn[1], 1.5 * drawn[0])
    assert not torch.equal(*(model.sample(digit=3, count=4) for model in models))
    in_training = []
    for model in models:
        torch.manual_seed(2)
        in_training.append(model._latents(4))
    assert torch.equal(*in_training)


def test_mismatch_is_off_without_weight_or_labels():
    real, labels, scores = torch.rand(8, 1, 32, 32), torch.arange(8), torch.zeros(8)
    assert gan("model.mismatch=0.0")._mismatch(real, labels, scores) == 0
    assert gan(experiment="gan_plain")._mismatch(real, None, scores) == 0


def test_a_configuration_without_clusters_builds_a_conditional_gan():
    cfg = composed("experiment=cgan_embed20", *TINY_MODEL).model
    with open_dict(cfg):
        del cfg["pseudo_labels"]
    assert instantiate(cfg).conditional


def test_learning_rates_rise_stay_and_fall(monkeypatch):
    model = gan("model.warmup=9", "model.decay_from=0.5", "model.generator_optimizer.lr=1.0")

    class Trainer:
        estimated_stepping_batches = 100
        world_size = 1

    monkeypatch.setattr(GAN, "trainer", Trainer())
    (optimizer, _), (schedule, _) = model.configure_optimizers()
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:51] == [1.0] * 42
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)


def test_samples_depend_on_the_seed_only():
    model = gan()
    images = model.sample(digit=3, count=25)
    assert images.shape == (25, 1, 32, 32)
    assert 0 <= images.min() <= images.max() <= 1
    assert torch.equal(images, model.sample(digit=3, count=25))
    assert not torch.equal(images, model.sample(digit=3, count=25, seed=1))
    assert not torch.equal(images, model.sample(digit=4, count=25))
    assert len(images.flatten(1).unique(dim=0)) == 25


def test_samples_come_from_the_average():
    model = gan()
    images = model.sample()
    for weight in model.generator.parameters():
        weight.data.zero_()
    assert torch.equal(images, model.sample())
    for weight in model.averaged.parameters():
        weight.data.zero_()
    assert not torch.equal(images, model.sample())


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"digit": 12}, "digit=12: choose 0 to 9"),
        ({"digit": -1}, "digit=-1: choose 0 to 9"),
        ({"digit": "abc"}, "digit=abc: choose 0 to 9"),
        ({"count": 0}, "count=0: must be at least 1"),
    ],
)
def test_invalid_samples(request_, message):
    with pytest.raises(UserError, match=message):
        gan().sample(**request_)


def test_unconditional_gan_cannot_be_asked_for_a_digit():
    model = gan(experiment="gan_plain")
    assert model.sample(count=3).shape == (3, 1, 32, 32)
    with pytest.raises(UserError, match="trained without labels"):
        model.sample(digit=3)
