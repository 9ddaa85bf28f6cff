"""The autoencoder: corruption, training, and runs."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from mnist_gen.autoencoder.callbacks import main_directions
from mnist_gen.data.augment import noisy, random_affine
from mnist_gen.data.corrupted import CorruptedImages
from mnist_gen.evaluation.dashboard import tag_of
from mnist_gen.networks.decoders import PixelShuffleDecoder
from mnist_gen.networks.encoders import WideEncoder
from mnist_gen.runs import checkpoint
from tests.autoencoder.conftest import TINY_RUN, autoencoder
from tests.conftest import composed, events, recorded


def test_the_experiment_follows_the_student_report():
    cfg = composed("experiment=autoencoder")
    model = checkpoint.instantiate(cfg.model)
    sizes = [sum(w.numel() for w in network.parameters()) for network in (model.encoder, model.decoder)]
    assert sizes == [103_440, 107_249]
    assert (cfg.data.noise, cfg.data.affine, cfg.data.batch_size, cfg.trainer.max_epochs) == (0.35, 0, 128, 15)
    assert composed("experiment=autoencoder_affine").model == cfg.model


def test_noise_has_the_set_deviation_and_is_not_clipped():
    torch.manual_seed(0)
    images = torch.full((20, 1, 32, 32), 0.5)
    seen = noisy(images, 0.35)
    assert (seen - images).std().item() == pytest.approx(0.35, rel=0.02)
    assert seen.min() < 0 < 1 < seen.max()
    assert noisy(images, 0.0) is images


def test_random_affine_differs_between_images_and_keeps_their_range():
    torch.manual_seed(0)
    images = torch.rand(1, 1, 32, 32).repeat(5, 1, 1, 1)
    seen = random_affine(images, 1.0)
    assert not any(torch.equal(seen[0], other) for other in seen[1:])
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert random_affine(images, 0.0) is images


class Training:
    """Replaces a Trainer."""

    def __init__(self, training: bool) -> None:
        self.training = training


def batches(data: CorruptedImages, training: bool) -> tuple[torch.Tensor, ...]:
    data.trainer = Training(training)
    torch.manual_seed(5)
    raw = (torch.full((4, 28, 28), 200, dtype=torch.uint8), torch.arange(4))
    first, clean, labels = data.on_after_batch_transfer(raw, 0)
    second, _, _ = data.on_after_batch_transfer(raw, 0)
    assert clean.shape == first.shape == (4, 1, 32, 32)
    assert labels.tolist() == [0, 1, 2, 3]
    return first, second, clean


def test_corruption_is_random_in_training_and_fixed_in_validation():
    data = CorruptedImages(noise=0.35, affine=1.0, dataset="MNIST", root="", cache="", batch_size=4)
    first, second, clean = batches(data, training=True)
    assert not torch.equal(first, second)
    first, second, again = batches(data, training=False)
    assert torch.equal(first, second)
    assert torch.equal(clean, again)
    assert not torch.equal(first, clean)


def test_training_lowers_the_loss_and_changes_all_weights():
    torch.manual_seed(0)
    model = autoencoder(optimizer=partial(torch.optim.Adam, lr=1e-3))
    clean = torch.zeros(16, 1, 32, 32)
    clean[:, :, 8:24, 14:18] = 1
    batch = (noisy(clean, 0.35), clean, torch.zeros(16))
    optimizer = model.optimizer(model.parameters())
    before = [weight.clone() for weight in model.parameters()]
    with torch.no_grad():
        expected = F.binary_cross_entropy(model(batch[0]), clean).item()
    losses = []
    for _ in range(20):
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert losses[-1] < losses[0]
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_shapes_of_the_wide_networks():
    model = autoencoder(
        latent_dim=7, encoder=partial(WideEncoder, channels=4), decoder=partial(PixelShuffleDecoder, channels=4)
    )
    assert model.encode(torch.rand(3, 1, 32, 32)).shape == (3, 7)
    restored = model(torch.rand(3, 1, 32, 32))
    assert restored.shape == (3, 1, 32, 32)
    assert 0 <= restored.min() <= restored.max() <= 1


def test_main_directions_are_sorted_by_deviation_and_as_long():
    torch.manual_seed(0)
    latents = torch.randn(5000, 3) * torch.tensor([1.0, 5.0, 3.0])
    directions = main_directions(latents, 2)
    assert directions.shape == (2, 3)
    assert directions.norm(dim=1).tolist() == pytest.approx([5, 3], rel=0.05)
    assert directions[0].abs().argmax() == 1


def test_a_run_writes_figures_metrics_curves_and_latents(fit, tmp_path):
    folder = tmp_path / "run"
    objective = fit(folder, "experiment=autoencoder_affine", *TINY_RUN, tiny=False)
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "losses.png", "restored.png", "traversals.png", "noise.png"
    }  # fmt: skip
    record = recorded(folder)
    assert {"test/loss", "test/loss_clean"} <= record["metrics"].keys()
    log = events(folder)
    for tag in ("val/loss", "val/loss_clean"):
        assert [event.step for event in log.Scalars(tag_of(tag))] == [3, 6]
    assert sorted(event.step for event in log.Images("pictures/restored")) == [3, 6, 6]  # of two files, in any order
    assert objective == pytest.approx(min(event.value for event in log.Scalars("quality/loss")), rel=1e-5)
    projector = (folder / "projector_config.pbtxt").read_text()
    (latents,) = folder.glob("**/tensors.tsv")
    assert len(latents.read_text().splitlines()) == 100  # all test images of the small data set
    assert len(latents.with_name("metadata.tsv").read_text().splitlines()) == 100
    assert latents.with_name("sprite.png").exists()
    assert latents.parent.name in projector
