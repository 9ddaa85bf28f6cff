"""An autoencoder as a generator, beside a GAN."""

import json

import pytest
import torch

from mnist_gen.errors import UserError
from mnist_gen.mixtures import CodeMixture
from tests.conftest import TINY
from tests.test_autoencoder import FEW as QUICK
from tests.test_autoencoder import autoencoder

IMAGES = torch.rand(60, 1, 32, 32)


def test_codes_are_drawn_as_the_images_codes_are_spread():
    model = autoencoder(latent_dim=3).eval()
    mixture = CodeMixture(model, IMAGES, components=1, seed=0)
    codes = model.encode(IMAGES)
    assert torch.allclose(torch.from_numpy(mixture.mixture.means_[0]).float(), codes.mean(dim=0), atol=1e-5)
    images = mixture.sample(7, seed=0)
    assert images.shape == (7, 1, 32, 32)
    assert torch.equal(images, mixture.sample(7, seed=0))
    assert not torch.equal(images, mixture.sample(7, seed=1))


def test_components_are_mixed_in_a_sample():
    """Density and memorisation look at the first samples only."""
    model = autoencoder(latent_dim=3).eval()
    mixture = CodeMixture(model, torch.cat([IMAGES * 0, IMAGES * 0 + 1]) + 0.1 * torch.rand(120, 1, 32, 32), 2, seed=0)
    ends = torch.from_numpy(mixture.mixture.means_).float()
    nearest = torch.cdist(mixture.codes(200, seed=0), ends).argmin(dim=1)
    assert 0 < nearest[:50].sum() < 50


@pytest.mark.parametrize("components", [0, 61])
def test_impossible_mixtures(components):
    with pytest.raises(UserError, match=f"components={components}: must be from 1 to the 60 images"):
        CodeMixture(autoencoder(), IMAGES, components, seed=0)


def test_what_a_comparison_leaves(fit, tmp_path):
    few = [*(word for word in TINY if "callbacks" not in word), "trainer.max_epochs=1"]
    words = {"autoencoder": QUICK, "gan": few}
    overrides = [f"{part}.overrides=['" + "','".join(quick) + "']" for part, quick in words.items()]
    kept = [f"{part}.folder={tmp_path / 'kept'}" for part in words]
    folder = tmp_path / "run"
    folder.mkdir()
    options = ["experiment=generators", "samples=30", "codes=100", "components=[1,2]", *overrides, *kept]
    fit(folder, *options, tiny=False, task="compare")
    rows = (folder / "generators.md").read_text().splitlines()
    names = ["autoencoder, 1 Gaussian", "autoencoder, 2 Gaussians", "GAN", "real images"]
    assert [row.split("|")[1].strip() for row in rows[2:]] == names
    found = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert {
        f"{name}/{figure}" for name in names for figure in ("fid", "density", "coverage", "memorised")
    } <= found.keys()
    assert found["real images/fid"] < found["GAN/fid"]
    assert (folder / "figures/samples.png").exists()
    before = (folder / "metrics.json").stat().st_mtime_ns
    fit(folder, *options, tiny=False, task="compare")  # complete: left alone
    assert (folder / "metrics.json").stat().st_mtime_ns == before
