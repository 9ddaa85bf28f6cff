"""Losses, steps and metrics of a translator."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from mnist_gen.data.mnist import ImageSet
from mnist_gen.data.pairs import ImagePairs
from mnist_gen.data.renderings import Outline
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.classifier import Classifier
from mnist_gen.evaluation.scorer import load_scorer
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.networks.discriminators import StackDiscriminator
from mnist_gen.networks.translators import UNet
from mnist_gen.training.adversarial import Relativistic
from mnist_gen.translation import Translation
from mnist_gen.translation.strategy import Strategy
from tests.conftest import composed

STRATEGIES = {
    "l1": Strategy("nothing", 1.0, 0.0, 0.0),
    "gan": Strategy("outputs", 0.0, 0.0, 0.0),
    "cgan": Strategy("pairs", 10.0, 0.0, 0.0),
    "cyclegan": Strategy("outputs", 0.0, 10.0, 5.0),
}


def translation(strategy: Strategy) -> Translation:
    torch.manual_seed(0)
    return Translation(
        strategy,
        translator=partial(UNet, channels=2, blocks=1),
        discriminator=partial(StackDiscriminator, channels=2),
        loss=Relativistic(),
        translator_optimizer=partial(torch.optim.SGD, lr=0.1),
        discriminator_optimizer=partial(torch.optim.SGD, lr=0.1),
        r1=1.0,
        r2=1.0,
        penalised=1.0,
        warmup=0,
        decay_from=1.0,
        ema_decay=0.5,
    )


def directions(model):
    return [part for part in (model.a_to_b, model.b_to_a) if part is not None]


def stepped(model: Translation, monkeypatch, batch) -> tuple[set[str], dict[str, torch.Tensor]]:
    """Takes one step; returns the names of changed weights and buffers, and the losses."""
    optimizers = model.translator_optimizer([p for part in directions(model) for p in part.translator.parameters()])
    networks = [part.discriminator for part in directions(model) if part.discriminator is not None]
    if networks:
        optimizers = [optimizers, model.discriminator_optimizer([p for part in networks for p in part.parameters()])]
    monkeypatch.setattr(model, "optimizers", lambda: optimizers)
    monkeypatch.setattr(model, "lr_schedulers", lambda: [])
    monkeypatch.setattr(model, "manual_backward", lambda loss, **options: loss.backward(**options))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = model.training_step(batch, 0)
    after = model.state_dict()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}, losses


def batch_of_pairs(count: int = 4):
    return torch.rand(count, 1, 32, 32), torch.rand(count, 1, 32, 32), torch.arange(count)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_step_changes_the_networks_of_its_strategy(name, monkeypatch):
    model = translation(STRATEGIES[name])
    moved, losses = stepped(model, monkeypatch, batch_of_pairs())
    assert all(loss.isfinite() for loss in losses.values())
    parts = {name.partition(".")[0] for name in moved} - {"averaged"}
    assert parts == ({"a_to_b", "b_to_a"} if name == "cyclegan" else {"a_to_b"})
    for part in parts:
        weights = {f"{part}.translator.{key}" for key, _ in getattr(model, part).translator.named_parameters()}
        assert weights <= moved
        assert any(key.startswith(f"{part}.discriminator") for key in moved) == (name != "l1")
    assert {f"averaged.{key}" for key, _ in model.averaged.named_parameters()} <= moved
    assert (losses["loss_d"] == 0) == (name == "l1")


def test_input_of_the_discriminator():
    inputs, images = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    outputs, pairs = (translation(STRATEGIES[name]).a_to_b for name in ("gan", "cgan"))
    assert torch.equal(outputs.fake(inputs, images), images)
    assert torch.equal(outputs.real(inputs, images), images[[1, 0]])
    for seen in (pairs.fake(inputs, images), pairs.real(inputs, images)):
        assert torch.equal(seen[:, :1], inputs)
        assert torch.equal(seen[:, 1:], images)
    assert translation(STRATEGIES["l1"]).a_to_b.discriminator is None
    assert StackDiscriminator(planes=2, channels=2)(torch.rand(3, 2, 32, 32)).shape == (3,)


def test_the_loss_of_regression_is_l1(monkeypatch):
    model = translation(STRATEGIES["l1"])
    a, b, labels = batch_of_pairs()
    outputs = model.a_to_b.translator(a * 2 - 1)
    _, losses = stepped(model, monkeypatch, (a, b, labels))
    assert losses["loss_g"].item() == pytest.approx((outputs - (b * 2 - 1)).abs().mean().item(), rel=1e-5)


def test_cycle_and_identity_losses():
    model = translation(STRATEGIES["cyclegan"])
    a_to_b, b_to_a = directions(model)
    for direction, factor in ((a_to_b, 2.0), (b_to_a, 3.0)):
        direction.translator = nn.Module()
        direction.translator.forward = lambda images, factor=factor: factor * images
    a, b = torch.ones(2, 1, 32, 32), torch.full((2, 1, 32, 32), 10.0)
    translated = [(a_to_b, a, b, 2 * a), (b_to_a, b, a, 3 * b)]
    cycle = abs(3 * 2 * 1 - 1) + abs(2 * 3 * 10 - 10)
    identity = abs(2 * 10 - 10) + abs(3 * 1 - 1)
    assert model._cycle_loss(translated).item() == pytest.approx(10 * cycle + 5 * identity)
    assert model._cycle_loss(translated[:1]) == 0


def test_a_unet_keeps_the_shape_and_translates_images_independently():
    model = translation(STRATEGIES["gan"])
    images = torch.rand(3, 1, 32, 32)
    outputs = model.translate(images)
    assert outputs.shape == images.shape
    assert 0 <= outputs.min() <= outputs.max() <= 1
    assert torch.allclose(model.translate(images[:1]), outputs[:1], atol=1e-5)


def test_the_scorer_comes_from_a_classifier_and_does_not_change(monkeypatch):
    model, scorer = translation(STRATEGIES["gan"]), Scorer()
    model.start_from(Classifier(scorer, partial(torch.optim.SGD, lr=0.1), 0.0))
    assert torch.equal(model.scorer.head.weight, scorer.head.weight)
    before = copy.deepcopy(model.scorer.state_dict())
    model.validation_step(batch_of_pairs(20), 0)
    monkeypatch.setattr(model, "log_dict", lambda *_, **__: None)
    data = ImagePairs(Outline(1), "paired", 10, 10, 0.0, dataset="MNIST", root="", cache="", batch_size=10)
    data.train = ImageSet(torch.randint(256, (20, 28, 28), dtype=torch.uint8), torch.arange(20) % 10)
    model.trainer = SimpleNamespace(datamodule=data, global_step=0)
    model.on_validation_epoch_end()
    moved, _ = stepped(model, monkeypatch, batch_of_pairs())
    assert not any(name.startswith("scorer") for name in moved)
    assert all(torch.equal(value, before[name]) for name, value in model.scorer.state_dict().items())


def test_the_digit_most_often_read(monkeypatch):
    """Two of three threes are read as eights, and both fives as fives; other digits do not occur."""
    model, logged = translation(STRATEGIES["gan"]), {}
    monkeypatch.setattr(model, "log_dict", lambda values, **_: logged.update(values))
    monkeypatch.setattr(model, "_log_metrics", lambda *_: torch.tensor([8, 3, 8, 5, 5]))
    model._evaluated = [(torch.zeros(5, 1, 32, 32), torch.zeros(5, 1, 32, 32), torch.tensor([3, 3, 3, 5, 5]))]
    model.on_test_epoch_end()
    assert logged == {"test/becomes_3": 8.0, "test/becomes_5": 5.0}
    assert (model.confusion[3, 8], model.confusion[3, 3], model.confusion.sum()) == (2, 1, 5)


def test_correspondence_of_true_and_false_counterparts():
    torch.manual_seed(0)
    scorer, images = load_scorer(None, "MNIST"), torch.rand(20, 1, 32, 32)
    labels = fidelity.features_and_digits(scorer, images)[1]
    same = fidelity.correspondence(labels, labels, images, images)
    assert same == pytest.approx({"correspondence": 1.0, "l1": 0.0, "ssim": 1.0, "retrieval": 1.0}, abs=1e-5)
    others = fidelity.correspondence(labels, (labels + 1) % 10, images.roll(1, dims=0), images)
    assert others["correspondence"] == 0
    assert others["retrieval"] == 0
    assert others["l1"] == pytest.approx(1 / 3, abs=0.02)  # of two uniform numbers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nothing", 0.0, 10.0, 0.0), "with sees=nothing and l1=0 there is nothing to learn from"),
        (("outputs", 0.0, 0.0, 1.0), "model.strategy.identity=1.0: needs model.strategy.cycle above 0"),
    ],
)
def test_impossible_strategies_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Strategy(*options)


@pytest.mark.parametrize(("name", "sees"), [("gan", "outputs"), ("cgan", "pairs")])
def test_a_step_through_a_bottleneck(monkeypatch, name, sees):
    cfg = composed(f"experiment=bottleneck/{name}")
    model = instantiate(cfg.model)
    assert (model.strategy.sees, model.a_to_b.translator.encoder[-1].out_features) == (sees, 4)
    assert cfg.data.rendering._target_.endswith("Slant")
    moved, losses = stepped(model, monkeypatch, batch_of_pairs(16))
    assert all(loss.isfinite() for loss in losses.values())
    assert {f"a_to_b.translator.{key}" for key, _ in model.a_to_b.translator.named_parameters()} <= moved
    weights = {f"a_to_b.discriminator.{key}" for key, _ in model.a_to_b.discriminator.named_parameters()}
    last_bias = list(model.a_to_b.discriminator.state_dict())[-1]
    assert last_bias.endswith(".bias")
    assert (
        weights - {f"a_to_b.discriminator.{last_bias}"} <= moved
    )  # relativistic losses ignore a constant added to all scores
