"""An autoencoder as a generator, compared with a GAN."""

import pytest
import torch

from mnist_gen.autoencoder.mixture import LatentMixture
from mnist_gen.errors import UserError
from mnist_gen.gan.comparison import Comparison
from tests.autoencoder.conftest import TINY_RUN as QUICK
from tests.autoencoder.conftest import autoencoder
from tests.conftest import TINY, recorded

IMAGES = torch.rand(60, 1, 32, 32)


def test_latents_are_drawn_from_the_distribution_of_the_images_latents():
    model = autoencoder(latent_dim=3).eval()
    mixture = LatentMixture(model, IMAGES, components=1, seed=0)
    latents = model.encode(IMAGES)
    assert torch.allclose(torch.from_numpy(mixture.mixture.means_[0]).float(), latents.mean(dim=0), atol=1e-5)
    images = mixture.sample(7, seed=0)
    assert images.shape == (7, 1, 32, 32)
    assert torch.equal(images, mixture.sample(7, seed=0))
    assert not torch.equal(images, mixture.sample(7, seed=1))


def test_components_are_mixed_in_a_sample():
    """Density and memorisation look at the first samples only."""
    model = autoencoder(latent_dim=3).eval()
    mixture = LatentMixture(
        model, torch.cat([IMAGES * 0, IMAGES * 0 + 1]) + 0.1 * torch.rand(120, 1, 32, 32), 2, seed=0
    )
    ends = torch.from_numpy(mixture.mixture.means_).float()
    nearest = torch.cdist(mixture.latents(200, seed=0), ends).argmin(dim=1)
    assert 0 < nearest[:50].sum() < 50


def test_too_many_gaussians():
    with pytest.raises(UserError, match="components=61: too many for 60 latents"):
        LatentMixture(autoencoder(), IMAGES, 61, seed=0)


def test_a_mixture_needs_more_latents_than_gaussians():
    with pytest.raises(UserError, match="study.components: 61 must be at most study.latents=60"):
        Comparison(samples=30, latents=60, components=[1, 61], seed=0)


def test_files_and_metrics_of_a_comparison(fit, tmp_path):
    words = {"autoencoder": QUICK, "gan": [*TINY, "trainer.max_epochs=1", "trainer.limit_train_batches=1"]}
    overrides = [f'{part}.overrides=["' + '","'.join(quick) + '"]' for part, quick in words.items()]
    kept = [f"{part}.folder={tmp_path / 'kept'}" for part in words]
    folder = tmp_path / "run"
    folder.mkdir()
    options = ["study.samples=30", "study.latents=100", "study.components=[1,2]", *overrides, *kept]
    fit(folder, "experiment=comparison", *options, tiny=False, task="study")
    rows = (folder / "comparison.md").read_text().splitlines()
    assert rows[0].startswith("| generator | FID | density | coverage | rarest digit |")
    names = ["autoencoder, 1 Gaussian", "autoencoder, 2 Gaussians", "GAN", "real images"]
    assert [row.split("|")[1].strip() for row in rows[2:]] == names
    found = recorded(folder)["metrics"]
    for name in ("autoencoder_1_Gaussian", "autoencoder_2_Gaussians", "GAN", "real_images"):
        assert {f"{name}/{metric}" for metric in ("fid", "density", "coverage", "memorised")} <= found.keys()
    assert found["real_images/fid"] < found["GAN/fid"]
    assert found["real_images/memorised"] < 0.5  # measured on test images, because all training images are memorised
    assert (folder / "figures/samples.png").exists()
