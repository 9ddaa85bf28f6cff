"""Every metric, declared once: its name, its function, which direction is better, and where it is shown.

Tables, HPARAMS, sweep summaries and plots read `METRICS`. To add a metric of generated samples, write a function of
tensors in `fidelity.py` and declare it here; `gan.evaluation` then measures it on samples and on real images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from mnist_gen.data import NUM_CLASSES
from mnist_gen.evaluation import fidelity
from mnist_gen.networks.classifiers import Scorer


@dataclass(frozen=True)
class RealImages:
    """Real images to compare samples with.

    Attributes:
        images: (N, 1, 32, 32) in [0, 1].
        labels: (N,).
        features: of the images in the scorer, (N, 128).
        training: raw training images (M, H, W) uint8, for `memorised`; None skips this metric.
        memorisation_limit: see `fidelity.memorisation_limit`.
    """

    images: Tensor
    labels: Tensor
    features: Tensor
    training: Tensor | None = None
    memorisation_limit: float = 0.0


@dataclass
class Samples:
    """Generated images to measure, or real ones in their place for the real-data floor.

    Attributes:
        images: (N, 1, 32, 32) in [0, 1].
        labels: (N,), the requested digits; None for an unconditional generator.
        scorer: the reference classifier.
        real: images to compare with.
        unseen: the images to measure `memorised` on, if not `images`: real images are training images themselves.
        training_set: generates as many images and labels as there are training images; None skips CAS.
    """

    images: Tensor
    labels: Tensor | None
    scorer: Scorer
    real: RealImages
    unseen: Tensor | None = None
    training_set: Callable[[], tuple[Tensor, Tensor]] | None = None

    @cached_property
    def features_and_digits(self) -> tuple[Tensor, Tensor]:
        """The scorer's features (N, 128) and the digits (N,) it reads."""
        return fidelity.features_and_digits(self.scorer, self.images)

    @cached_property
    def density_and_coverage(self) -> Mapping[str, float]:
        """Both, of equally many samples and real images."""
        features, real = self.features_and_digits[0], self.real.features
        matched = min(len(features), len(real))
        return fidelity.density_and_coverage(features[:matched], real[:matched])

    @cached_property
    def class_accuracy(self) -> Mapping[str, float]:
        """Of labelled samples: overall, of the worst digit and by digit."""
        assert self.labels is not None
        return fidelity.class_accuracy(self.features_and_digits[1], self.labels)

    @cached_property
    def digit_shares(self) -> Mapping[str, float]:
        """Of unlabelled samples: the shares of the rarest and the commonest digit."""
        return fidelity.digit_shares(self.features_and_digits[1])

    @cached_property
    def diversity(self) -> Mapping[str, float]:
        """Of labelled samples: the mean over digits and the worst digit's."""
        assert self.labels is not None
        return fidelity.diversity(self.images, self.labels, self.real.images, self.real.labels)


@dataclass(frozen=True)
class Metric:
    """A measured number.

    Attributes:
        name: as logged behind `val/`, `test/` or `floor/`.
        better: `higher`, `lower`, or empty where neither is better.
        summary: whether the table and the chart of a sweep show it.
        validation: whether it is cheap enough for each validation.
        labels: whether it takes labelled samples, or unlabelled ones; None for both.
        digit: the digit it is about; None for all digits. Short tables leave out metrics of single digits.
        family: what the metrics of all ten digits have in common, such as `f1`.
        deviation_of: the metric whose standard deviation it is.
        measure: the function of samples, which returns None if it does not apply; None if a model logs the metric.
    """

    name: str
    better: str = ""
    summary: bool = True
    validation: bool = False
    labels: bool | None = None
    digit: int | None = None
    family: str | None = None
    deviation_of: str | None = None
    measure: Callable[[Samples], float | None] | None = None


def _memorised(samples: Samples) -> float | None:
    real, images = samples.real, samples.images if samples.unseen is None else samples.unseen
    return None if real.training is None else fidelity.memorised(images, real.training, real.memorisation_limit)


def _cas(samples: Samples) -> float | None:
    if samples.training_set is None:
        return None
    return fidelity.cas(*samples.training_set(), samples.real.images, samples.real.labels)


def _by_digit(family: str, better: str, summary: bool, **options: Any) -> list[Metric]:
    """A metric per digit, such as `f1_7`."""
    return [Metric(f"{family}_{digit}", better, summary, digit=digit, family=family, **options) for digit in DIGITS]


def _class_accuracy_of(name: str) -> Callable[[Samples], float | None]:
    return lambda samples: samples.class_accuracy.get(name)


DIGITS = range(NUM_CLASSES)
OF_SAMPLES = (
    Metric("fid", "lower", validation=True, measure=lambda s: fidelity.fid(s.features_and_digits[0], s.real.features)),
    Metric("density", "higher", validation=True, measure=lambda s: s.density_and_coverage["density"]),
    Metric("coverage", "higher", validation=True, measure=lambda s: s.density_and_coverage["coverage"]),
    Metric(
        "class_accuracy", "higher", validation=True, labels=True, measure=lambda s: s.class_accuracy["class_accuracy"]
    ),
    Metric("worst_class", "higher", validation=True, labels=True, measure=lambda s: s.class_accuracy["worst_class"]),
    *(
        replace(metric, measure=_class_accuracy_of(metric.name))
        for metric in _by_digit("class_accuracy", "higher", summary=True, validation=True, labels=True)
    ),
    Metric("rarest_digit", "higher", validation=True, labels=False, measure=lambda s: s.digit_shares["rarest_digit"]),
    Metric(
        "commonest_digit", "lower", validation=True, labels=False, measure=lambda s: s.digit_shares["commonest_digit"]
    ),
    Metric(
        "sharpness",
        summary=False,
        measure=lambda s: (fidelity.sharpness(s.images).mean() / fidelity.sharpness(s.real.images).mean()).item(),
    ),
    Metric("diversity", "higher", labels=True, measure=lambda s: s.diversity.get("diversity")),
    Metric(
        "worst_diversity", "higher", summary=False, labels=True, measure=lambda s: s.diversity.get("worst_diversity")
    ),
    Metric("memorised", "lower", summary=False, measure=_memorised),
    Metric("cas", "higher", labels=True, measure=_cas),
)
OF_MODELS = (  # the models log these themselves
    Metric("loss", "lower", summary=False),
    Metric("loss_clean", "lower", summary=False),
    Metric("accuracy", "higher"),
    Metric("accuracy_std", "lower", summary=False, deviation_of="accuracy"),  # over draws of labels
    Metric("accuracy_worst", "higher"),
    Metric("f1_macro", "higher", summary=False),
    *_by_digit("f1", "higher", summary=False),
    Metric("kept_epoch", summary=False),
    Metric("correspondence", "higher"),
    *_by_digit("becomes", "", summary=False),
    Metric("retrieval", "higher"),
    Metric("l1", "lower"),
    Metric("ssim", "higher"),
    Metric("relative_error", "lower"),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (*OF_SAMPLES, *OF_MODELS)}


def measure(samples: Samples, validation: bool = False) -> dict[str, float]:
    """All metrics that apply to samples, by name.

    Args:
        samples: what to measure.
        validation: whether to measure only what is cheap enough for each validation.
    """
    found = {
        metric.name: metric.measure(samples)
        for metric in OF_SAMPLES
        if metric.measure is not None
        and metric.labels in (None, samples.labels is not None)
        and (metric.validation or not validation)
    }
    return {name: value for name, value in found.items() if value is not None}
