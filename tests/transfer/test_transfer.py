"""Classifiers on an encoder: training, early stopping, and runs."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.errors import UserError
from mnist_gen.evaluation.dashboard import tag_of
from mnist_gen.networks.decoders import Decoder
from mnist_gen.networks.encoders import Encoder, WideEncoder
from mnist_gen.networks.heads import LinearHead, MLPHead
from mnist_gen.runs import checkpoint, pretrained
from mnist_gen.transfer import Transfer
from tests.conftest import composed, events, recorded, same_weights
from tests.transfer.conftest import TINY_RUN

ARMS = ("frozen", "finetune", "scratch")


def transfer(arm="frozen", head=LinearHead, **options) -> Transfer:
    settings = {"latent_dim": 64, "encoder": Encoder, "head": head, "arm": arm, "latents": "raw"}
    settings |= {"augment": 0.0, "noise": 0.0}
    optimizer = partial(torch.optim.SGD, lr=0.1, weight_decay=0.3)
    settings |= {"views": 1, "optimizer": optimizer, "encoder_rate": 0.5, "ema_decay": 0.0}
    return Transfer(**{**settings, "draws": 2, "folds": 2, "patience": 3, **options})


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_sizes_of_heads():
    assert parameters(LinearHead(64)) == 650
    mlp = MLPHead(64, hidden=32, dropout=0.5)
    assert parameters(mlp) == 64 * 32 + 32 + 32 * 10 + 10
    latents = torch.ones(4, 64)
    assert not torch.equal(mlp(latents), mlp(latents))  # dropout
    mlp.eval()
    assert torch.equal(mlp(latents), mlp(latents))


@pytest.mark.parametrize("arm", ARMS)
def test_optimizer_groups(arm):
    model = transfer(arm)
    groups = model.configure_optimizers().param_groups
    sizes = [sum(weight.numel() for weight in group["params"]) for group in groups]
    classifiers = 2 * 3  # two draws, three classifiers each: without fold 0, without fold 1, with all
    assert sizes == [classifiers * 650, classifiers * 103_440][: 1 if arm == "frozen" else 2]
    assert [group["lr"] for group in groups] == [0.1, 0.05][: len(groups)]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0][: len(groups)]
    assert (model.encoder is not None) == (arm == "frozen")


def test_whitening_without_augmentation_is_refused():
    with pytest.raises(UserError, match="model.latents=whitened needs augmentation: set model.augment or model.noise"):
        transfer(latents="whitened")


def batch(labels=4):
    torch.manual_seed(0)
    images = torch.rand(2, labels, 1, 32, 32)
    folds = torch.tensor([[0, 1] * (labels // 2)] * 2)
    return images, torch.arange(2 * labels).view(2, labels) % 10, folds, torch.arange(labels)


def test_a_classifier_is_not_trained_on_its_left_out_fold():
    model = transfer("scratch")
    images, labels, folds, positions = batch()

    def gradients(images):
        model.zero_grad()
        model.training_step((images, labels, folds, positions), 0)["loss"].backward()
        return [classifier.head[0].weight.grad.clone() for classifier in model.classifiers[0]]

    changed = images.clone()
    changed[0, folds[0] == 1] = 0
    before, after = gradients(images), gradients(changed)
    assert not torch.equal(before[0], after[0])  # without fold 0, so with fold 1
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[2], after[2])  # with all folds


def test_draws_are_trained_independently():
    model = transfer("scratch")
    images, labels, folds, positions = batch()
    model.done[1] = True
    model.training_step((images, labels, folds, positions), 0)["loss"].backward()
    assert all(weight.grad is not None for classifier in model.classifiers[0] for weight in classifier.parameters())
    assert all(weight.grad is None for classifier in model.classifiers[1] for weight in classifier.parameters())


def test_the_best_epoch_is_kept_until_patience_ends_a_draw():
    model = transfer(patience=2)
    model._trainer = SimpleNamespace(current_epoch=0)

    def bias(draw: int) -> float:
        return model.best[draw].head[0].bias[0].item()

    for epoch, losses in enumerate([[3.0, 3.0], [2.0, 4.0], [2.5, 5.0], [1.0, 1.0]]):
        model._trainer.current_epoch = epoch
        for group in model.classifiers:
            group[-1].head[0].bias.data.fill_(epoch)
        model._keep_better(torch.tensor(losses))
        assert model.done.tolist() == [False, epoch >= 2]
    assert model.best_epoch.tolist() == [4, 1]
    assert (bias(0), bias(1)) == (3, 0)  # the second draw was done before its loss fell again


def test_moving_averages_are_evaluated_and_kept(monkeypatch):
    model = transfer("finetune", ema_decay=0.75)
    assert len(model.configure_optimizers().param_groups[0]["params"]) == 2 * 3 * 2  # without the averages
    weights = [classifier.head[0].weight for group in model.classifiers for classifier in group]
    averages = [classifier.head[0].weight for group in model.evaluated for classifier in group]
    before = [average.clone() for average in averages]
    model.done[1] = True
    monkeypatch.setattr(Transfer, "global_step", 1000)
    monkeypatch.setattr("lightning.LightningModule.optimizer_step", lambda *_: [w.data.add_(1.0) for w in weights])
    model.optimizer_step()
    moved = [(average - old).mean().item() for average, old in zip(averages, before, strict=True)]
    assert moved == pytest.approx([0.25] * 3 + [0.0] * 3)
    model._trainer = SimpleNamespace(current_epoch=0)
    model._keep_better(torch.tensor([1.0, 1.0]))
    assert torch.equal(model.best[0].head[0].weight, averages[2])


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_moving_averages_start_from_the_autoencoder_too(ema_decay):
    autoencoder = Autoencoder(64, Encoder, Decoder, torch.optim.Adam, 0, 1.0)
    model = transfer("finetune", ema_decay=ema_decay)
    model.start_from(autoencoder)
    assert torch.equal(model.evaluated[1][2].encoder.network[0].weight, autoencoder.encoder[0].weight)
    assert len(model.averaged) == (2 * 3 if ema_decay else 0)


@pytest.mark.parametrize("arm", ARMS)
def test_encoders_that_train_learn_batch_statistics(arm):
    model = transfer(arm, encoder=partial(WideEncoder, channels=2))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.training for norm in norms} == {arm != "frozen"}
    assert all(classifier.head.training for classifier in model.learning)


@pytest.mark.parametrize("arm", ["frozen", "finetune"])
def test_encoders_start_from_the_autoencoder(arm):
    autoencoder = Autoencoder(64, Encoder, Decoder, torch.optim.Adam, 0, 1.0)
    model = transfer(arm)
    model.start_from(autoencoder)
    images = torch.rand(3, 1, 32, 32)
    assert len(model._encoders()) == (1 if arm == "frozen" else 2 * 3 + 2)
    for encoder in model._encoders():
        assert torch.equal(encoder(images), autoencoder.encode(images))


def test_scratch_encoders_all_differ():
    images = torch.rand(3, 1, 32, 32)
    latents = [classifier.encoder(images) for group in transfer("scratch").classifiers for classifier in group]
    assert not any(torch.equal(latents[0], other) for other in latents[1:])


def test_a_run_whitens_latents(fit, tmp_path, pretrained):
    words = ["experiment=transfer_linear_frozen", *TINY_RUN, f"pretrained.folder={pretrained}"]
    fit(tmp_path / "run", *words, tiny=False)
    model = checkpoint.load(tmp_path / "run/checkpoints/last.ckpt")
    assert model.encoder.mean.abs().max() > 0
    assert not torch.equal(model.encoder.whitening, torch.eye(64))


@pytest.mark.parametrize(("head", "arm"), [("linear", "frozen"), ("mlp", "finetune"), ("linear", "scratch")])
def test_a_run_of_each_arm_writes_metrics_draws_and_curves(made, tmp_path, pretrained, head, arm):
    words = [f"experiment=transfer_{head}_{arm}", *TINY_RUN, "data.draws=2", f"pretrained.folder={pretrained}"]
    folder = made(tmp_path / "run", *words, tiny=False)
    record = recorded(folder)
    metrics = record["metrics"]
    draws = json.loads((folder / "draws.json").read_text())
    assert draws["seeds"] == [0, 1]
    assert metrics["test/accuracy"] == pytest.approx(sum(draws["accuracy"]) / 2)
    assert metrics["test/accuracy_worst"] == pytest.approx(min(draws["accuracy"]))
    assert {f"test/f1_{digit}" for digit in range(10)} | {"train/accuracy", "test/f1_macro"} <= metrics.keys()
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "losses.png", "loss.png", "accuracy.png", "confusion.png"
    }  # fmt: skip
    log = events(folder)
    for tag in ("val/loss", "held_out/accuracy", "learnt/loss"):
        assert [event.step for event in log.Scalars(tag_of(tag))] == [2, 4, 6]
    (drawn,) = log.Images("pictures/confusion")
    assert drawn.step == 6  # batches, as in the curves
    assert any(tag.startswith("report/test") for tag in log.Tags()["tensors"])
    model = checkpoint.load(folder / "checkpoints/last.ckpt")
    logits = model(torch.rand(5, 1, 32, 32))
    assert logits.shape == (2, 5, 10)
    moved = record["config"]["model"]["encoder"]["_target_"]
    assert moved == "mnist_gen.networks.encoders.Encoder"


@pytest.mark.parametrize(("arm", "stop"), [("frozen", 3), ("finetune", 4)])  # batch 1 and batch 2 of epoch 2
def test_a_resumed_run_ends_with_the_same_weights(fit, made, tmp_path, pretrained, interrupted, arm, stop):
    words = [f"experiment=transfer_mlp_{arm}", *TINY_RUN, "data.draws=2", f"pretrained.folder={pretrained}"]
    whole, stopped = made(tmp_path / "whole", *words, tiny=False), tmp_path / "stopped"
    with interrupted(Transfer, stop):
        fit(stopped, *words, tiny=False)
    fit(stopped, *words, tiny=False)
    assert same_weights(whole, stopped)
    assert json.loads((whole / "draws.json").read_text()) == json.loads((stopped / "draws.json").read_text())


def test_early_stopping_writes_a_last_checkpoint(fit, tmp_path):
    words = ["experiment=transfer_linear_scratch", *TINY_RUN, "model.patience=1", "trainer.max_epochs=30"]
    fit(tmp_path / "run", *words, "model.optimizer.lr=5.0", tiny=False)  # the loss rises soon, so patience ends the run
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    epochs = len(last["history"]["val/loss"])
    assert epochs < 30
    assert epochs % 10  # not an epoch with a scheduled checkpoint
    assert last["epoch"] == epochs - 1


def test_with_one_label_per_digit_nothing_is_held_out(fit, tmp_path):
    words = ["experiment=transfer_linear_scratch", *TINY_RUN, "data.labels=10"]
    fit(tmp_path / "run", *words, tiny=False)
    history = json.loads((tmp_path / "run/draws.json").read_text())["history"]
    assert "held_out/loss" not in history
    assert len(history["learnt/loss"]) == 3


def test_a_classifier_without_a_fold_to_leave_out_is_not_trained(fit, tmp_path):
    words = ["experiment=transfer_linear_scratch", *TINY_RUN, "data.held_out=1", "trainer.max_epochs=1"]
    fit(tmp_path / "run", *words, tiny=False)
    model = checkpoint.load(tmp_path / "run/checkpoints/last.ckpt")
    trained = [classifier.encoder.network[0].weight for classifier in model.classifiers[0]]
    cfg = pretrained.complete(composed(*words))
    torch.manual_seed(0)
    fresh = [classifier.encoder.network[0].weight for classifier in checkpoint.instantiate(cfg.model).classifiers[0]]
    assert [not torch.equal(a, b) for a, b in zip(trained, fresh, strict=True)] == [True, False, True]
