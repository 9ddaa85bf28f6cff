"""An autoencoder as a generator: new codes are drawn from Gaussians fitted to the codes of real images."""

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from mnist_gen.autoencoder.autoencoder import Autoencoder
from mnist_gen.errors import UserError


class CodeMixture:
    """A mixture of Gaussians with full covariances over an autoencoder's codes, fitted by scikit-learn.

    Args:
        autoencoder: whose codes.
        images: (N, 1, 32, 32) in [0, 1], whose codes are fitted.
        components: Gaussians in the mixture; 1: a single one.
        seed: of the fit.

    Raises:
        UserError: there is no component, or not even one image for each.
    """

    def __init__(self, autoencoder: Autoencoder, images: Tensor, components: int, seed: int) -> None:
        if not 1 <= components <= len(images):
            raise UserError(f"components={components}: must be from 1 to the {len(images)} images they are fitted to.")
        self.autoencoder = autoencoder
        with torch.no_grad():
            codes = autoencoder.encode(images).double().cpu().numpy()
        try:
            self.mixture = GaussianMixture(components, random_state=seed).fit(codes)
        except ValueError:  # a covariance that cannot be inverted
            raise UserError(f"components={components}: too many for {len(images)} codes to fit them to.") from None

    def codes(self, count: int, seed: int) -> Tensor:
        """Codes (count, latent_dim) in random order; the same seed gives the same ones."""
        self.mixture.random_state = seed
        drawn = torch.from_numpy(self.mixture.sample(count)[0]).float()  # component by component
        return drawn[torch.randperm(count, generator=torch.Generator().manual_seed(seed))]

    @torch.no_grad()
    def sample(self, count: int, seed: int) -> Tensor:
        """Their images (count, 1, 32, 32) in [0, 1]."""
        return self.autoencoder.decode(self.codes(count, seed).to(self.autoencoder.device))
