"""The players of the adversarial game: generators and discriminators. They know nothing of training."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnist_gen.data import IMAGE_SIZE, to_signed
from mnist_gen.errors import UserError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
}
LABELS = ("onehot", "embedding")
CONCATS = ("before", "after")
LASTS = ("sigmoid", "conv_tanh")
STARTS = ("scratch", "pretrained", "pretrained_frozen")
SMALLEST_VARIANCE = 1e-8  # a root's slope at 0 is infinite
WEIGHT_OF_DEVIATION = 8  # ours, so that one number among a thousand counts from the start


def label_code(label: str | None, embedding_dim: int, count: int) -> nn.Embedding | None:
    """Labels (N,) -> vectors (N, code.embedding_dim), or None without labels.

    Args:
        label: `embedding`, learned vectors; `onehot`, fixed ones as long as there are labels; None.
        embedding_dim: length of a learned vector.
        count: of different labels.

    Raises:
        UserError: there is no such choice, or no vector of that length.
    """
    if label is None:
        return None
    _check_choice("label", label, LABELS)
    if embedding_dim < 1:
        raise UserError(f"embedding_dim={embedding_dim}: must be at least 1.")
    return nn.Embedding.from_pretrained(torch.eye(count)) if label == "onehot" else nn.Embedding(count, embedding_dim)


class LabelPlane(nn.Sequential):
    """Label codes (N, embedding_dim) -> one image-sized channel (N, 1, 32, 32)."""

    def __init__(self, embedding_dim: int) -> None:
        super().__init__(nn.Linear(embedding_dim, IMAGE_SIZE**2), nn.Unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE)))


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
            _check_choice(key, value, choices)
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


class Discriminator(nn.Module):
    """Images in [-1, 1] and labels (N,) -> scores (N,), positive for "real".

    The label enters as a plane concatenated with the image. No normalisation: it would tie the images of a batch
    together and spoil the gradient penalties.

    Args:
        channels: width of the first convolution; it doubles twice.
        activation: `relu` or `leaky_relu`.
        code: labels' vectors, or None.
        projection: adds <features, a vector of the label> to the score (Miyato & Koyama 2018).
    """

    def __init__(self, channels: int, activation: str, code: nn.Embedding | None, projection: bool) -> None:
        super().__init__()
        _check_choice("activation", activation, tuple(ACTIVATIONS))
        active = ACTIVATIONS[activation]
        self.code = code
        self.plane = None if code is None else LabelPlane(code.embedding_dim)
        self.body = _halving(1 if self.plane is None else 2, channels, active)
        self.score = nn.Linear(channels * 64, 1)
        self.project: nn.Embedding | None = None
        if projection and code is not None:
            self.project = nn.Embedding(code.num_embeddings, channels * 64)
            nn.init.zeros_(self.project.weight)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.code is not None and self.plane is not None:
            images = torch.cat([images, self.plane(self.code(labels))], dim=1)
        features = self.body(images)  # (N, 64 channels)
        scores = self.score(features).squeeze(1)
        if self.project is not None:
            scores = scores + (features * self.project(labels)).sum(dim=1)
        return scores


class StackDiscriminator(nn.Sequential):
    """Images in [-1, 1], or some of them one over the other, (N, planes, 32, 32) -> scores (N,).

    Args:
        planes: images that are looked at together.
        channels: width of the first convolution; it doubles twice.
        group: images that are looked at as a batch, see `MinibatchDeviation`; 1: each by itself.

    Raises:
        UserError: no channels, or no group.
    """

    def __init__(self, planes: int, channels: int, group: int = 1) -> None:
        _check_size("channels", channels)
        _check_size("group", group)
        features = channels * 64
        body = _halving(planes, channels, ACTIVATIONS["leaky_relu"])
        alike = [MinibatchDeviation(group)] if group > 1 else []
        super().__init__(body, *alike, nn.Linear(features + len(alike), 1), nn.Flatten(0))


class MinibatchDeviation(nn.Module):
    """Features (N, F) -> (N, F + 1): beside each the mean deviation within its group (Karras et al. 2018).

    Images that are too much alike give themselves away by it. A group is some images one after the other, so that real
    and made ones do not mix if both are multiples of it. A gradient penalty then looks at the whole group.

    Args:
        group: images in one.

    Raises:
        UserError: the images do not come in such groups.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        if len(features) % self.group:
            raise UserError(f"model.discriminator.group={self.group}: must be a divisor of data.batch_size.")
        groups = features.reshape(-1, self.group, features.shape[1])
        deviations = (groups.var(dim=1, correction=0) + SMALLEST_VARIANCE).sqrt().mean(dim=1)
        beside = WEIGHT_OF_DEVIATION * deviations.repeat_interleave(self.group)
        return torch.cat([features, beside[:, None]], dim=1)


class PatchDiscriminator(nn.Sequential):
    """As `StackDiscriminator`, each patch of 20 x 20 pixels by itself (Isola et al. 2017): the mean of their scores.

    It sees how sharp lines are, not what they add up to.

    Args:
        planes: images that are looked at together.
        channels: width of the first convolution; the second has double that.

    Raises:
        UserError: no channels.
    """

    def __init__(self, planes: int, channels: int) -> None:
        _check_size("channels", channels)
        active = ACTIVATIONS["leaky_relu"]
        super().__init__(
            nn.PixelUnshuffle(2),  # (N, 4 planes, 16, 16)
            nn.Conv2d(4 * planes, channels, 3, padding=1),
            active(),
            nn.Conv2d(channels, channels * 2, 4, stride=2, padding=1),  # (N, 2 channels, 8, 8)
            active(),
            nn.Conv2d(channels * 2, 1, 3, padding=1),
            nn.AvgPool2d(8),
            nn.Flatten(0),
        )


def _check_size(key: str, size: int) -> None:
    if size < 1:
        raise UserError(f"model.discriminator.{key}={size}: must be at least 1.")


def _halving(planes: int, channels: int, active: Callable[[], nn.Module]) -> nn.Sequential:
    """Images (N, planes, 32, 32) -> features (N, 64 channels)."""
    return nn.Sequential(
        nn.PixelUnshuffle(2),  # (N, 4 planes, 16, 16)
        nn.Conv2d(4 * planes, channels, 3, padding=1),
        active(),
        nn.Conv2d(channels, channels * 2, 4, stride=2, padding=1),  # (N, 2 channels, 8, 8)
        active(),
        nn.Conv2d(channels * 2, channels * 4, 4, stride=2, padding=1),  # (N, 4 channels, 4, 4)
        active(),
        nn.Flatten(),
    )


class CodeDiscriminator(nn.Module):
    """An autoencoder's codes (N, code_dim) and labels (N,) -> scores (N,), positive for "real".

    Args:
        code_dim: length of a code.
        hidden: width of the two hidden layers.
        activation: `relu` or `leaky_relu`.
        code: labels' vectors, which join the autoencoder's, or None.
    """

    def __init__(self, code_dim: int, hidden: int, activation: str, code: nn.Embedding | None) -> None:
        super().__init__()
        _check_choice("activation", activation, tuple(ACTIVATIONS))
        active = ACTIVATIONS[activation]
        self.code = code
        width = code_dim + (code.embedding_dim if code else 0)
        self.body = nn.Sequential(
            nn.Linear(width, hidden), active(), nn.Linear(hidden, hidden), active(), nn.Linear(hidden, 1)
        )

    def forward(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.body(codes if self.code is None else torch.cat([codes, self.code(labels)], dim=1)).squeeze(1)


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{key}={value}: choose one of {', '.join(choices)}.")
