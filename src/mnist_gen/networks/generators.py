"""Generators: latents, with or without labels -> images, or latents of an autoencoder."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnist_gen.data.mnist import to_signed
from mnist_gen.errors import UserError, check_choice
from mnist_gen.networks.label_vectors import LabelPlane


class MappingNetwork(nn.Sequential):
    """An MLP: vectors (N, width) -> an autoencoder's latents (N, out_dim)."""

    def __init__(self, width: int, out_dim: int, hidden: int) -> None:
        super().__init__(
            nn.Linear(width, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, out_dim),
        )
        self.out_dim = out_dim


class Generator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) -> images (N, 1, 32, 32) in [-1, 1].

    Args:
        decoder: builds a network from vectors of the given length to pixel logits (N, 1, 32, 32).
        latent_dim: length of a latent.
        label_vectors: labels -> vectors (N, embedding_dim); None: no labels.
        concat: `before` appends the label vector to the decoder's input; `after` stacks a label plane on the decoder's
            image and refines both with convolutions.
        last: `sigmoid`, or `conv_tanh`: one more convolution of the logits, and tanh. Both start with the same image.
        mapping: builds a network from latents of the given length to the decoder's input; None: no such network.
        start: `scratch`; `pretrained`, the decoder starts with an autoencoder's weights, except those that meet a label
            vector; `pretrained_frozen`, it also keeps them.

    Raises:
        UserError: unknown choice, or a label vector would enter a frozen decoder.
    """

    def __init__(
        self,
        decoder: Callable[[int], nn.Module],
        latent_dim: int,
        label_vectors: nn.Embedding | None,
        concat: str,
        last: str,
        mapping: Callable[[int], MappingNetwork] | None = None,
        start: str = "scratch",
    ) -> None:
        super().__init__()
        check_choice("concat", concat, ("before", "after"))
        check_choice("last", last, ("sigmoid", "conv_tanh"))
        check_choice("start", start, ("scratch", "pretrained", "pretrained_frozen"))
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
        self.decoder.requires_grad_(start != "pretrained_frozen")
        self.last = _halving_convolution() if last == "conv_tanh" else None
        self.train()  # puts a frozen decoder into evaluation mode

    @property
    def starts_pretrained(self) -> bool:
        """Whether the decoder starts with an autoencoder's weights."""
        return self.start != "scratch"

    def start_from(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Copies the weights of an autoencoder's decoder."""
        own, pretrained = self.decoder.state_dict(), decoder.state_dict()
        for name, weights in pretrained.items():
            if self.label_vectors and weights.dim() == 2:  # the first layer, whose last columns meet the label vector
                pretrained[name] = torch.cat([weights, own[name][:, weights.shape[1] :]], dim=1)
        self.decoder.load_state_dict(pretrained)

    def train(self, mode: bool = True) -> "Generator":
        """Sets the mode; a frozen decoder stays in evaluation mode and keeps its batch statistics."""
        super().train(mode)
        if self.start == "pretrained_frozen":
            self.decoder.eval()
        return self

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
        nn.Conv2d(8, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 4, 3, padding=1),
        nn.PixelShuffle(2),
    )


class LatentGenerator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) -> an autoencoder's latents (N, out_dim).

    Args:
        mapping: builds a network from vectors of the given length to the autoencoder's latents.
        latent_dim: length of a latent.
        label_vectors: labels -> vectors, which join the latents; None: no labels.
        concat: `before`; without an image there is nothing that a label plane could join.

    Raises:
        UserError: `concat` is not `before`.
    """

    def __init__(
        self, mapping: Callable[[int], MappingNetwork], latent_dim: int, label_vectors: nn.Embedding | None, concat: str
    ) -> None:
        super().__init__()
        if concat != "before":
            raise UserError(
                f"concat={concat}: a generator of latents has no image for a label plane; set concat=before."
            )
        self.label_vectors = label_vectors
        self.mapping = mapping(latent_dim + (label_vectors.embedding_dim if label_vectors else 0))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.from_vectors(latents, None if self.label_vectors is None else self.label_vectors(labels))

    def from_vectors(self, latents: Tensor, vectors: Tensor | None) -> Tensor:
        """As `forward`, from label vectors (N, embedding_dim) or interpolations between them."""
        return self.mapping(latents if vectors is None else torch.cat([latents, vectors], dim=1))
