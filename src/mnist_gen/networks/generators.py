"""Generators: latents, with or without labels -> images, or latents of an autoencoder."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnist_gen.data.mnist import to_signed
from mnist_gen.errors import UserError, check_choice
from mnist_gen.networks.layers import LabelPlane, convolution


class MappingNetwork(nn.Sequential):
    """An MLP: vectors (N, width) -> an autoencoder's latents (N, out_dim)."""

    def __init__(self, width: int, out_dim: int, hidden: int) -> None:
        first = (nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
        second = (nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
        super().__init__(*first, *second, nn.Linear(hidden, out_dim))
        self.out_dim = out_dim


class Generator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) -> images (N, 1, 32, 32) in [-1, 1].

    With `concat=before` the label vector joins the decoder's input, behind the mapping network if there is one. With
    `concat=after` a label plane joins the decoder's image, and convolutions refine both. `last=conv_tanh` adds a
    convolution of the logits; at first it changes nothing.
    """

    def __init__(
        self,
        decoder: Callable[[int], nn.Module],  # makes a network from vectors of a length to pixel logits (N, 1, 32, 32)
        latent_dim: int,
        label_vectors: nn.Embedding | None,  # None: no labels
        concat: str,  # before | after
        last: str,  # sigmoid | conv_tanh
        mapping: Callable[[int], MappingNetwork] | None = None,  # makes a network from latents to the decoder's input
        start: str = "scratch",  # pretrained: with an autoencoder's decoder | pretrained_frozen: and keep its weights
    ) -> None:
        super().__init__()
        self.label_vectors, self.start = label_vectors, start
        self.plane: nn.Module | None = None
        if label_vectors is not None and concat == "after":
            self.plane = LabelPlane(label_vectors.embedding_dim)
            self.refine = _refinement()
        appended = label_vectors.embedding_dim if label_vectors and concat == "before" else 0
        if appended and start == "pretrained_frozen":
            raise UserError(f"start={start}: a frozen decoder cannot learn to use a label vector; set concat=after.")
        self.mapping = None if mapping is None else mapping(latent_dim)
        width = latent_dim if self.mapping is None else self.mapping.out_dim
        self.decoder = decoder(width + appended)
        if start == "pretrained_frozen":
            self.decoder.requires_grad_(False).eval()  # also keeps its batch statistics
        self.last = _halving_convolution() if last == "conv_tanh" else None

    @property
    def starts_pretrained(self) -> bool:
        return self.start != "scratch"

    def start_from(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Copies the weights of an autoencoder's decoder, except for columns of the first layer that meet a label."""
        own, pretrained = self.decoder.state_dict(), decoder.state_dict()
        for name, weights in pretrained.items():
            if weights.dim() == 2:
                pretrained[name] = torch.cat([weights, own[name][:, weights.shape[1] :]], dim=1)
        self.decoder.load_state_dict(pretrained)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.from_vectors(latents, None if self.label_vectors is None else self.label_vectors(labels))

    def from_vectors(self, latents: Tensor, vectors: Tensor | None) -> Tensor:
        """As `forward`, from label vectors (N, embedding_dim) or interpolations between them."""
        if self.mapping is not None:
            latents = self.mapping(latents)  # (N, out_dim)
        if vectors is not None and self.plane is None:
            latents = torch.cat([latents, vectors], dim=1)
        logits = self.decoder(latents)  # (N, 1, 32, 32)
        if vectors is not None and self.plane is not None:
            logits = self.refine(torch.cat([logits.tanh(), self.plane(vectors)], dim=1))
        return to_signed(logits.sigmoid()) if self.last is None else self.last(logits).tanh()


def _halving_convolution() -> nn.Conv2d:
    """Starts as x / 2, so that tanh(x / 2) = 2 sigmoid(x) - 1 equals the sigmoid's image.

    From random weights the background would start grey, because black needs large negative logits.
    """
    layer = nn.Conv2d(1, 1, 3, padding=1)
    layer.load_state_dict({"weight": nn.init.dirac_(torch.empty(1, 1, 3, 3)) / 2, "bias": torch.zeros(1)})
    return layer


def _refinement() -> nn.Sequential:
    """An image and a label plane (N, 2, 32, 32) -> logits (N, 1, 32, 32), computed at half resolution."""
    return nn.Sequential(
        nn.PixelUnshuffle(2),  # (N, 8, 16, 16)
        *convolution(8, 32, 3, bias=True),
        *convolution(32, 32, 3, bias=True),
        nn.Conv2d(32, 4, 3, padding=1),
        nn.PixelShuffle(2),
    )


class LatentGenerator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) -> an autoencoder's latents (N, out_dim). It has no image for a plane."""

    def __init__(
        self, mapping: Callable[[int], MappingNetwork], latent_dim: int, label_vectors: nn.Embedding | None, concat: str
    ) -> None:
        super().__init__()
        check_choice("concat", concat, ("before",))
        self.label_vectors = label_vectors
        self.mapping = mapping(latent_dim + (label_vectors.embedding_dim if label_vectors else 0))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.from_vectors(latents, None if self.label_vectors is None else self.label_vectors(labels))

    def from_vectors(self, latents: Tensor, vectors: Tensor | None) -> Tensor:
        return self.mapping(latents if vectors is None else torch.cat([latents, vectors], dim=1))
