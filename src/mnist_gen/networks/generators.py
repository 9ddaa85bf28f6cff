"""Generators: latents, with or without labels -> images or latents of an autoencoder."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnist_gen.data.mnist import to_signed
from mnist_gen.errors import UserError, check_choice
from mnist_gen.networks.label_vectors import LabelPlane

CONCATS = ("before", "after")
LASTS = ("sigmoid", "conv_tanh")
STARTS = ("scratch", "pretrained", "pretrained_frozen")


class Mapping(nn.Sequential):
    """An MLP from latents, or latents beside labels' codes, (N, width), to an autoencoder's codes (N, code_dim)."""

    def __init__(self, width: int, code_dim: int, hidden: int) -> None:
        super().__init__(*_dense(width, hidden), *_dense(hidden, hidden), nn.Linear(hidden, code_dim))
        self.code_dim = code_dim


def _dense(width: int, hidden: int) -> list[nn.Module]:
    return [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]


class Generator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) -> images in [-1, 1].

    Args:
        decoder: makes a network from vectors of the given length to pixel logits (N, 1, 32, 32).
        latent_dim: length of a latent.
        code: labels' vectors (see `label_code`), or None: then it takes no labels.
        concat: `before` joins the label's code to what the decoder takes; `after` joins a label plane to the decoder's
            image and goes on with convolutions.
        last: `sigmoid`, the decoder's own image in [0, 1]; `conv_tanh`, a further convolution of its logits and tanh,
            which start as the same image.
        mapping: makes a network from latents of the given length to what the decoder takes; None: nothing.
        start: `pretrained`, the decoder starts from an autoencoder's weights (those that a label's code meets are
            fresh); `pretrained_frozen`, and keeps them.

    Raises:
        UserError: there is no such choice, or a frozen decoder has no room for a label.
    """

    def __init__(
        self,
        decoder: Callable[[int], nn.Module],
        latent_dim: int,
        code: nn.Embedding | None,
        concat: str,
        last: str,
        mapping: Callable[[int], Mapping] | None = None,
        start: str = "scratch",
    ) -> None:
        super().__init__()
        for key, value, choices in (("concat", concat, CONCATS), ("last", last, LASTS), ("start", start, STARTS)):
            check_choice(key, value, choices)
        self.code = code
        self.plane: nn.Module | None = None
        if code is not None and concat == "after":
            self.plane = LabelPlane(code.embedding_dim)
            self.refine = _refiner()
        self.start = start
        joined = code.embedding_dim if code and concat == "before" else 0
        if joined and start == "pretrained_frozen":
            raise UserError(f"start={start}: a frozen decoder has no room for a label: choose concat=after.")
        self.mapping = None if mapping is None else mapping(latent_dim)
        width = latent_dim if self.mapping is None else self.mapping.code_dim
        self.decoder = decoder(width + joined)
        self.decoder.requires_grad_(start != "pretrained_frozen")
        self.last = _halving_logits() if last == "conv_tanh" else None
        self.train()  # a frozen decoder stays in evaluation mode from the start

    @property
    def starts_pretrained(self) -> bool:
        """Whether the decoder is an autoencoder's."""
        return self.start != "scratch"

    def start_from(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Takes the weights of an autoencoder's decoder, if its own starts pretrained."""
        if not self.starts_pretrained:
            return
        own, taken = self.decoder.state_dict(), decoder.state_dict()
        for name, weights in taken.items():
            if self.code and weights.dim() == 2:  # the first layer's, which takes a label's code too
                taken[name] = torch.cat([weights, own[name][:, weights.shape[1] :]], dim=1)
        self.decoder.load_state_dict(taken)

    def train(self, mode: bool = True) -> "Generator":
        """A frozen decoder keeps its batch statistics too."""
        super().train(mode)
        if self.start == "pretrained_frozen":
            self.decoder.eval()
        return self

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.paint(latents, None if self.code is None else self.code(labels))

    def paint(self, latents: Tensor, codes: Tensor | None) -> Tensor:
        """The same for labels' codes (N, embedding_dim), or points between them."""
        if self.mapping is not None:
            latents = self.mapping(latents)
        if codes is not None and self.plane is None:
            latents = torch.cat([latents, codes], dim=1)
        logits = self.decoder(latents)
        if codes is not None and self.plane is not None:
            logits = self.refine(torch.cat([logits.tanh(), self.plane(codes)], dim=1))
        return to_signed(logits.sigmoid()) if self.last is None else self.last(logits).tanh()


def _halving_logits() -> nn.Conv2d:
    """A convolution that starts by halving logits: tanh(x / 2) = 2 sigmoid(x) - 1, the sigmoid's image in [-1, 1].

    From random weights the ground would be grey: black lies far out on tanh.
    """
    layer = nn.Conv2d(1, 1, 3, padding=1)
    layer.load_state_dict({"weight": nn.init.dirac_(torch.empty(1, 1, 3, 3)) / 2, "bias": torch.zeros(1)})
    return layer


class CodeGenerator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) -> an autoencoder's codes (N, code_dim).

    Args:
        mapping: makes the network from latents of the given length to codes.
        latent_dim: length of a latent.
        code: labels' vectors, which join the latent, or None.
        concat: `before`, for there is no image that a label plane could join.

    Raises:
        UserError: there is no such choice.
    """

    starts_pretrained = False

    def __init__(
        self, mapping: Callable[[int], Mapping], latent_dim: int, code: nn.Embedding | None, concat: str
    ) -> None:
        super().__init__()
        if concat != "before":
            raise UserError(f"concat={concat}: a generator of codes has no image for a label plane: concat=before.")
        self.code = code
        self.mapping = mapping(latent_dim + (code.embedding_dim if code else 0))

    def start_from(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Nothing: no part of it is an autoencoder's."""

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.paint(latents, None if self.code is None else self.code(labels))

    def paint(self, latents: Tensor, codes: Tensor | None) -> Tensor:
        """The same for labels' codes (N, embedding_dim), or points between them."""
        return self.mapping(latents if codes is None else torch.cat([latents, codes], dim=1))


def _refiner(channels: int = 32) -> nn.Sequential:
    """An image and a label plane (N, 2, 32, 32) -> logits (N, 1, 32, 32), computed at half resolution."""
    return nn.Sequential(
        nn.PixelUnshuffle(2),  # (N, 8, 16, 16)
        nn.Conv2d(8, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.PixelShuffle(2),
    )
