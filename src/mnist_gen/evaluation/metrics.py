"""Every metric, declared once: its name, its function, which direction is better, and where it is shown.

Tables, HPARAMS, sweep summaries and plots read `METRICS`. To add a metric of generated samples, write a function of
tensors in `fidelity.py` and declare it here; `gan.evaluation` then measures it on samples and on real images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from mnist_gen.data import NUM_CLASSES
from mnist_gen.evaluation import fidelity
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.system.screen import counted

ABBREVIATIONS = ("cas", "fid", "l1", "ssim")


@dataclass(frozen=True)
class RealImages:
    """Real images to compare samples with."""

    images: Tensor  # (N, 1, 32, 32) in [0, 1]
    labels: Tensor  # (N,)
    features: Tensor  # the scorer's, (N, 128)
    training: Tensor | None = None  # raw training images (M, H, W) uint8, for `memorised`; None skips this metric
    memorisation_limit: float = 0.0  # see `fidelity.memorisation_limit`


@dataclass
class Samples:
    """Generated images to measure, or real ones in their place for the real-data floor."""

    images: Tensor  # (N, 1, 32, 32) in [0, 1]
    labels: Tensor | None  # requested digits (N,); None for an unconditional generator
    scorer: Scorer
    real: RealImages
    unseen: Tensor | None = None  # to measure `memorised` on, if `images` are training images themselves
    cas: Callable[[], float] | None = None  # trains a classifier on as many images of the kind; None skips this metric
    cas_fresh: Callable[[], float] | None = None  # likewise, on new images in each epoch

    @cached_property
    def features_and_digits(self) -> tuple[Tensor, Tensor]:
        """The scorer's features (N, 128) and the digits (N,) it reads."""
        return fidelity.features_and_digits(self.scorer, self.images)


@dataclass(frozen=True)
class Metric:
    """A measured number."""

    name: str  # as logged behind `val/`, `test/` or `floor/`
    better: str = ""  # `higher`, `lower`, or empty where neither is better
    summary: bool = True  # whether the table and the chart of a sweep show it
    validation: bool = False  # whether it is cheap enough for each validation
    labels: bool | None = None  # whether it takes labelled samples, or unlabelled ones; None for both
    digit: int | None = None  # the digit it is about; short tables leave out metrics of single digits
    family: str | None = None  # what the metrics of all ten digits have in common, such as `f1`
    deviation_of: str | None = None  # the metric whose standard deviation it is
    # Function of samples that returns it, alone or in a group, or None if it does not apply. Models log the others.
    measure: Callable[[Samples], float | fidelity.Metrics | None] | None = None

    @property
    def words(self) -> str:
        """Its name in a table: `FID`."""
        words = (word.upper() if word in ABBREVIATIONS else word for word in self.name.split("_"))
        return " ".join(words)

    @property
    def label(self) -> str:
        """Its name at an axis: `FID (lower is better)`."""
        return f"{self.words} ({self.better} is better)" if self.better else self.words


def _density_and_coverage(samples: Samples) -> fidelity.Metrics:
    """Of equally many samples and real images."""
    features, real = samples.features_and_digits[0], samples.real.features
    matched = min(len(features), len(real))
    return fidelity.density_and_coverage(features[:matched], real[:matched])


def _sharpness(samples: Samples) -> float:
    return (fidelity.sharpness(samples.images).mean() / fidelity.sharpness(samples.real.images).mean()).item()


def _memorised(samples: Samples) -> float | None:
    real, images = samples.real, samples.images if samples.unseen is None else samples.unseen
    return None if real.training is None else fidelity.memorised(images, real.training, real.memorisation_limit)


def _by_digit(family: str, better: str, **options: Any) -> list[Metric]:
    return [Metric(f"{family}_{d}", better, digit=d, family=family, **options) for d in range(NUM_CLASSES)]


Options = dict[str, Any]  # that several metrics share: one function measures them all
ACCURACY: Options = {"measure": lambda s: fidelity.class_accuracy(s.features_and_digits[1], s.labels), "labels": True}
SHARES: Options = {"measure": lambda s: fidelity.digit_shares(s.features_and_digits[1]), "labels": False}
DIVERSITY: Options = {
    "measure": lambda s: fidelity.diversity(s.images, s.labels, s.real.images, s.real.labels), "labels": True
}  # fmt: skip
OF_SAMPLES = (
    Metric("fid", "lower", validation=True, measure=lambda s: fidelity.fid(s.features_and_digits[0], s.real.features)),
    Metric("density", "higher", validation=True, measure=_density_and_coverage),
    Metric("coverage", "higher", validation=True, measure=_density_and_coverage),
    Metric("class_accuracy", "higher", validation=True, **ACCURACY),
    Metric("worst_class", "higher", validation=True, **ACCURACY),
    *_by_digit("class_accuracy", "higher", validation=True, **ACCURACY),
    Metric("rarest_digit", "higher", validation=True, **SHARES),
    Metric("commonest_digit", "lower", validation=True, **SHARES),
    Metric("sharpness", summary=False, measure=_sharpness),
    Metric("diversity", "higher", **DIVERSITY),
    Metric("worst_diversity", "higher", summary=False, **DIVERSITY),
    Metric("memorised", "lower", summary=False, measure=_memorised),
    Metric("cas", "higher", labels=True, measure=lambda s: None if s.cas is None else s.cas()),
    Metric("cas_fresh", "higher", labels=True, measure=lambda s: None if s.cas_fresh is None else s.cas_fresh()),
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
    Metric("cluster_accuracy", "higher", summary=False),
    Metric("correspondence", "higher"),
    *_by_digit("becomes", "", summary=False),
    Metric("retrieval", "higher"),
    Metric("l1", "lower"),
    Metric("ssim", "higher"),
    Metric("relative_error", "lower"),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (*OF_SAMPLES, *OF_MODELS)}


def measure(samples: Samples, validation: bool = False, bar: str | None = None) -> fidelity.Metrics:
    """All metrics that apply to samples, by name; for validation, only the cheap ones. `bar` is the name of a bar."""
    metrics: fidelity.Metrics = {}
    suiting = (metric for metric in OF_SAMPLES if metric.labels in (None, samples.labels is not None))
    wanted = {metric.measure: metric.name for metric in suiting if metric.validation or not validation}
    functions = [function for function in wanted if function is not None]
    for function in functions if bar is None else counted(functions, bar, "metric"):
        found = function(samples)
        group = found if isinstance(found, Mapping) else {wanted[function]: found}
        metrics |= {name: value for name, value in group.items() if value is not None}
    return metrics
