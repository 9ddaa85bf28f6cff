import copy
import json
import re
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from hydra.errors import InstantiationException
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
from mnist_gen.runs import checkpoint
from mnist_gen.training.adversarial import Relativistic
from mnist_gen.translation import Translation, jobs
from mnist_gen.translation.claim_plots import pictures
from mnist_gen.translation.strategy import Strategy
from mnist_gen.translation.translation import Leg
from tests.conftest import composed, events

STRATEGIES = {
    "l1": Strategy("nothing", 1.0, 0.0, 0.0),
    "gan": Strategy("outputs", 0.0, 0.0, 0.0),
    "cgan": Strategy("pairs", 10.0, 0.0, 0.0),
    "cyclegan": Strategy("outputs", 0.0, 10.0, 5.0),
}
BECOMES = [f"becomes_{digit}" for digit in range(10)]
TINY = (
    *("model.generator.channels=2", "model.generator.blocks=1", "model.discriminator.channels=2"),
    *(
        "data.pairs=40",
        "data.epoch_pairs=40",
        "data.batch_size=8",
        "data.eval_batch_size=50",
        "trainer.limit_train_batches=2",
    ),
)


def translation(strategy: Strategy) -> Translation:
    torch.manual_seed(0)
    return Translation(
        strategy,
        generator=partial(UNet, channels=2, blocks=1),
        discriminator=partial(StackDiscriminator, channels=2),
        loss=Relativistic(),
        generator_optimizer=partial(torch.optim.SGD, lr=0.1),
        discriminator_optimizer=partial(torch.optim.SGD, lr=0.1),
        r1=1.0,
        r2=1.0,
        warmup=0,
        decay_from=1.0,
        ema_decay=0.5,
    )


def stepped(model: Translation, monkeypatch, batch) -> tuple[set[str], dict[str, torch.Tensor]]:
    """Names of what one step moved, and what it returned."""
    generators = model.generator_optimizer([p for way in model.ways for p in way.generator.parameters()])
    discriminators = [p for way in model.ways if way.discriminator is not None for p in way.discriminator.parameters()]
    optimizers = [generators, model.discriminator_optimizer(discriminators)] if discriminators else generators
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
def test_which_weights_a_step_moves(name, monkeypatch):
    model = translation(STRATEGIES[name])
    moved, losses = stepped(model.train(), monkeypatch, batch_of_pairs())
    assert all(loss.isfinite() for loss in losses.values())
    parts = {name.partition(".")[0] for name in moved} - {"averaged"}
    assert parts == ({"there", "back"} if name == "cyclegan" else {"there"})
    for way in parts:
        weights = {f"{way}.generator.{key}" for key, _ in getattr(model, way).generator.named_parameters()}
        assert weights <= moved
        assert any(key.startswith(f"{way}.discriminator") for key in moved) == (name != "l1")
    assert {f"averaged.{key}" for key, _ in model.averaged.named_parameters()} <= moved
    assert (losses["loss_d"] == 0) == (name == "l1")


def test_what_a_discriminator_sees():
    given, images = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    outputs, pairs = (translation(STRATEGIES[name]).there for name in ("gan", "cgan"))
    assert torch.equal(outputs.shown_made(given, images), images)
    assert torch.equal(outputs.shown_real(given, images), images[[1, 0]])
    for shown in (pairs.shown_made(given, images), pairs.shown_real(given, images)):
        assert torch.equal(shown[:, :1], given)
        assert torch.equal(shown[:, 1:], images)
    assert translation(STRATEGIES["l1"]).there.discriminator is None
    assert StackDiscriminator(planes=2, channels=2)(torch.rand(3, 2, 32, 32)).shape == (3,)


def test_regression_descends_the_difference(monkeypatch):
    model = translation(STRATEGIES["l1"]).train()
    a, b, labels = batch_of_pairs()
    made = model.there.generator(a * 2 - 1)
    _, losses = stepped(model, monkeypatch, (a, b, labels))
    assert losses["loss_g"].item() == pytest.approx((made - (b * 2 - 1)).abs().mean().item(), rel=1e-5)


def test_a_cycle_goes_there_and_back_and_identity_stays():
    model = translation(STRATEGIES["cyclegan"])
    there, back = model.ways
    for way, factor in ((there, 2.0), (back, 3.0)):
        way.generator = nn.Module()
        way.generator.forward = lambda images, factor=factor: factor * images
    a, b = torch.ones(2, 1, 32, 32), torch.full((2, 1, 32, 32), 10.0)
    legs = [Leg(there, a, b, 2 * a), Leg(back, b, a, 3 * b)]
    cycle = abs(3 * 2 * 1 - 1) + abs(2 * 3 * 10 - 10)
    identity = abs(2 * 10 - 10) + abs(3 * 1 - 1)
    assert model._cycle_loss(legs).item() == pytest.approx(10 * cycle + 5 * identity)
    assert model._cycle_loss(legs[:1]) == 0


def test_a_unet_keeps_the_shape_and_looks_at_each_image_alone():
    model = translation(STRATEGIES["gan"]).train()
    images = torch.rand(3, 1, 32, 32)
    made = model.translate(images)
    assert made.shape == images.shape
    assert 0 <= made.min() <= made.max() <= 1
    assert torch.allclose(model.translate(images[:1]), made[:1], atol=1e-5)


def test_the_reader_comes_from_a_classifier_and_stays(monkeypatch):
    model, scorer = translation(STRATEGIES["gan"]), Scorer()
    model.start_from(Classifier(scorer, partial(torch.optim.SGD, lr=0.1), 0.0))
    assert torch.equal(model.reader.head.weight, scorer.head.weight)
    model.train()
    before = copy.deepcopy(model.reader.state_dict())
    model.validation_step(batch_of_pairs(20), 0)
    monkeypatch.setattr(model, "log_dict", lambda *_, **__: None)
    data = ImagePairs(Outline(1), "paired", 10, 10, 0.0, dataset="MNIST", root="", cache="", batch_size=10)
    data.train = ImageSet(torch.randint(256, (20, 28, 28), dtype=torch.uint8), torch.arange(20) % 10)
    model.trainer = SimpleNamespace(datamodule=data, global_step=0)
    model.on_validation_epoch_end()
    moved, _ = stepped(model, monkeypatch, batch_of_pairs())
    assert not any(name.startswith("reader") for name in moved)
    assert all(torch.equal(value, before[name]) for name, value in model.reader.state_dict().items())


def test_which_digit_each_one_becomes(monkeypatch):
    """Of three threes two are read as eights, of two fives both as fives; other digits are not there."""
    model, logged = translation(STRATEGIES["gan"]), {}
    monkeypatch.setattr(model, "log_dict", lambda values, **_: logged.update(values))
    monkeypatch.setattr(model, "_log", lambda *_: torch.tensor([8, 3, 8, 5, 5]))
    model._made = [(torch.zeros(5, 1, 32, 32), torch.zeros(5, 1, 32, 32), torch.tensor([3, 3, 3, 5, 5]))]
    model.on_test_epoch_end()
    assert logged == {"test/becomes_3": 8.0, "test/becomes_5": 5.0}
    assert (model.becomes[3, 8], model.becomes[3, 3], model.becomes.sum()) == (2, 1, 5)


def test_correspondence_of_counterparts_and_of_strangers():
    torch.manual_seed(0)
    scorer, images = load_scorer(None, "MNIST"), torch.rand(20, 1, 32, 32)
    labels = fidelity.read(scorer, images)[1]
    same = fidelity.correspondence(labels, labels, images, images)
    assert same == pytest.approx({"correspondence": 1.0, "l1": 0.0, "ssim": 1.0, "retrieval": 1.0}, abs=1e-5)
    others = fidelity.correspondence(labels, (labels + 1) % 10, images.roll(1, dims=0), images)
    assert others["correspondence"] == 0
    assert others["retrieval"] == 0
    assert others["l1"] == pytest.approx(1 / 3, abs=0.02)  # of two uniform numbers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("everything", 0.0, 0.0, 0.0), "model.strategy.sees=everything: choose one of nothing, outputs, pairs"),
        (("nothing", 0.0, 10.0, 0.0), "with sees=nothing and l1=0 there is nothing to learn from"),
        (("pairs", -1.0, 0.0, 0.0), "model.strategy.l1=-1.0: must be at least 0"),
        (("outputs", 0.0, 0.0, 1.0), "model.strategy.identity=1.0: takes a cycle above 0"),
    ],
)
def test_impossible_strategies_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Strategy(*options)


@pytest.fixture
def reader(made, tmp_path):
    """A checkpoint of a classifier of the other class."""
    words = ["experiment=scorer_rendered", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    words += ["data.batch_size=8", "data.eval_batch_size=50"]
    return made(tmp_path / "reader", *words, tiny=False) / "checkpoints/best.ckpt"


@pytest.mark.parametrize(("name", "sees"), [("gan", "outputs"), ("cgan", "pairs")])
def test_a_step_through_a_bottleneck(monkeypatch, name, sees):
    cfg = composed(f"experiment=bottleneck/{name}")
    model = instantiate(cfg.model)
    assert (model.strategy.sees, model.there.generator.encoder[-1].out_features) == (sees, 4)
    assert cfg.data.rendering._target_.endswith("Slant")
    moved, losses = stepped(model.train(), monkeypatch, batch_of_pairs(16))
    assert all(loss.isfinite() for loss in losses.values())
    assert {f"there.generator.{key}" for key, _ in model.there.generator.named_parameters()} <= moved
    weights = {f"there.discriminator.{key}" for key, _ in model.there.discriminator.named_parameters()}
    last_bias = list(model.there.discriminator.state_dict())[-1]
    assert last_bias.endswith(".bias")
    assert weights - {f"there.discriminator.{last_bias}"} <= moved  # differences of scores are blind to a shift of all


@pytest.mark.parametrize("name", ["translate_l1_paired", "translate_cyclegan_unpaired"])
def test_what_a_run_leaves(fit, tmp_path, reader, name, capsys):
    fit(tmp_path / "run", f"experiment={name}", f"reader.ckpt={reader}", *TINY, tiny=False)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["metrics"]
    assert {"fid", "correspondence", "l1", "ssim", "retrieval", *BECOMES} == {
        key.removeprefix("test/") for key in metrics if key.startswith("test/")
    }
    assert all(metrics[f"test/{name}"] in range(10) for name in BECOMES)
    assert metrics["floor/l1"] == 0
    assert metrics["floor/fid"] > 0  # by other images, not by themselves
    assert re.search(r"^l1 +\d\.\d{4} +0\.0000$", capsys.readouterr().out, flags=re.MULTILINE)
    log = events(tmp_path / "run")
    assert "translated" in log.Tags()["images"]
    hparams = log.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert all(word in hparams for word in (b"pairing", b"rendering", b"Outline", b"rendering.width"))
    assert b"root" not in hparams
    assert (tmp_path / "run/figures/translation.png").exists()
    assert (tmp_path / "run/figures/becomes.png").exists()
    again = checkpoint.load(tmp_path / "run/checkpoints/last.ckpt")
    assert isinstance(again, Translation)
    images = torch.rand(2, 1, 32, 32)
    kept = torch.load(reader, weights_only=True)["state_dict"]["network.head.weight"]
    assert torch.equal(again.reader.head.weight, kept)
    assert again.translate(images).shape == images.shape


def test_another_set_is_translated_into_without_counterparts(fit, tmp_path):
    few = ["data.batch_size=8", "data.eval_batch_size=50", "trainer.limit_train_batches=1"]
    fit(tmp_path / "reader", "experiment=scorer", "trainer.max_epochs=1", *few, tiny=False)
    words = ["experiment=translate_gan_unpaired", "data=fashion_pairs", "data.other=MNIST", *TINY]
    reader = f"reader.ckpt={tmp_path / 'reader/checkpoints/best.ckpt'}"
    fit(tmp_path / "sweep/gan", *words, reader, tiny=False)
    fit(tmp_path / "sweep/loose", *words, reader, "data.pairing=loose", tiny=False)
    metrics = json.loads((tmp_path / "sweep/gan/metrics.json").read_text())["metrics"]
    assert {key for key in metrics if key.startswith("test/")} - {f"test/{name}" for name in BECOMES} == {
        "test/fid",
        "test/correspondence",
    }
    fit(tmp_path, "task=claims", f"sweep={tmp_path}/sweep", task="claims", tiny=False)
    assert "| MNIST | GAN-like | loose |" in (tmp_path / "sweep/claims.md").read_text()
    assert (tmp_path / "sweep/translations_MNIST.png").exists()


def test_boards_show_what_each_makes_of_the_same_images_and_each_seed_of_a_gan(fit, tmp_path, reader):
    for name, seed in (("gan_paired", 0), ("gan_paired", 1), ("gan_loose", 0)):
        words = [f"experiment=translate_{name}", f"seed={seed}", f"reader.ckpt={reader}", *TINY]
        fit(tmp_path / f"sweep/{name}_{seed}", *words, tiny=False)
    translators = jobs.read([str(tmp_path / "sweep")])
    data = instantiate(composed("experiment=gan").data, root=translators[0].config["data"]["root"], cache=tmp_path)
    data.prepare_data()
    data.setup()
    rows = {
        name: [label.get_text() for label in picture.axes[0].get_yticklabels()]
        for name, picture in pictures(translators, data).items()
    }
    assert rows == {
        "translations_outline_width_1": ["input", "GAN-like, paired", "GAN-like, loose", "truth"],
        "seeds_outline_width_1_paired": ["input", "seed 0", "seed 1", "truth"],
    }
    assert pictures(translators[:1], data) == {}


@pytest.mark.parametrize(("name", "stop"), [("cgan_loose", 3), ("cyclegan_unpaired", 5)])  # two optimizers a step
def test_an_interrupted_run_goes_on_to_the_same_end(fit, tmp_path, reader, interrupted, name, stop):
    words = [f"experiment=translate_{name}", f"reader.ckpt={reader}", *TINY]
    fit(tmp_path / "whole", *words, tiny=False)
    with interrupted(Translation, stop):
        fit(tmp_path / "parts", *words, tiny=False)
    fit(tmp_path / "parts", f"ckpt={tmp_path / 'parts/checkpoints/last.ckpt'}", tiny=False)
    ends = [checkpoint.load(tmp_path / part / "checkpoints/last.ckpt").state_dict() for part in ("whole", "parts")]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_a_reader_of_another_kind_is_refused(fit, tmp_path, reader):
    fit(tmp_path / "translation", "experiment=translate_gan_paired", f"reader.ckpt={reader}", *TINY, tiny=False)
    wrong = tmp_path / "translation/checkpoints/last.ckpt"
    with pytest.raises(UserError, match="is a Translation, not a Classifier: name one made by experiment=scorer_rend"):
        fit(tmp_path / "run", "experiment=translate_gan_paired", f"reader.ckpt={wrong}", *TINY, tiny=False)


def test_a_reader_of_something_else_is_refused(fit, tmp_path, reader):
    words = ["experiment=translate_gan_paired", f"reader.ckpt={reader}", *TINY]
    message = "for dataset=MNIST, rendering._target_=mnist_gen.data.renderings.Outline, .*"
    message += "need a mnist_gen.networks.classifiers.Scorer for "
    with pytest.raises(UserError, match=message + "dataset=MNIST, rendering._target_=mnist_gen.data.renderings.Mosaic"):
        fit(tmp_path / "run", *words, "data/rendering=mosaic", tiny=False)
    with pytest.raises(
        UserError, match="experiment=transformer_classifier is a mnist_gen.networks.transformer.ReadTransformer"
    ):
        fit(tmp_path / "run", *TINY, words[0], "reader.experiment=transformer_classifier", tiny=False)


def test_a_translation_without_a_reader_is_refused(fit, tmp_path):
    with pytest.raises(UserError, match=r"^the model starts from a reader: choose an experiment that has one\.$"):
        fit(tmp_path, "experiment=scorer", "model=translation", tiny=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model.generator.channels=0", "model.generator.channels=0: must be at least 1"),
        ("model.generator.blocks=-1", "model.generator.blocks=-1: must be at least 0"),
        (
            "model/generator=encoder_decoder model.generator.code_dim=0",
            "model.generator.code_dim=0: must be at least 1",
        ),
        (
            "model/generator=encoder_decoder model.generator.encoder_channels=0",
            "model.generator.encoder_channels=0: must be at least 1",
        ),
        (
            "model/generator=encoder_decoder model.generator.decoder_channels=1",
            "model.generator.decoder_channels=1: must be at least 2",
        ),
        ("model.discriminator.channels=0", "model.discriminator.channels=0: must be at least 1"),
    ],
)
def test_impossible_networks_are_refused(words, message):
    with pytest.raises((UserError, InstantiationException), match=message):
        instantiate(composed("experiment=translate_gan_paired", *words.split()).model)
