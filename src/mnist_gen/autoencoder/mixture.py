"""An autoencoder as a generator: latents drawn from Gaussians fitted to the latents of real images."""

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from mnist_gen.autoencoder.autoencoder import Autoencoder
from mnist_gen.errors import UserError


class LatentMixture:
    """Gaussians with full covariances, fitted by scikit-learn to an autoencoder's latents of images (N, 1, 32, 32)."""

    def __init__(self, autoencoder: Autoencoder, images: Tensor, components: int, seed: int) -> None:
        self.autoencoder = autoencoder
        with torch.no_grad():
            latents = autoencoder.encode(images).double().cpu().numpy()
        try:
            self.mixture = GaussianMixture(components, random_state=seed).fit(latents)
        except ValueError:  # a singular covariance, or fewer latents than Gaussians
            raise UserError(f"components={components}: too many for {len(images)} latents; set fewer.") from None

    def latents(self, count: int, seed: int) -> Tensor:
        """Draws latents (count, latent_dim) in random order; the same seed draws the same latents."""
        self.mixture.random_state = seed
        drawn = torch.from_numpy(self.mixture.sample(count)[0]).float()  # sorted by component
        return drawn[torch.randperm(count, generator=torch.Generator().manual_seed(seed))]

    @torch.no_grad()
    def sample(self, count: int, seed: int) -> Tensor:
        """Draws images (count, 1, 32, 32) in [0, 1]."""
        return self.autoencoder.decode(self.latents(count, seed).to(self.autoencoder.device))
