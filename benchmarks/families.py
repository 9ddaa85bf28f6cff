"""Which experiments and metrics each table of results shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Cell = Callable[[Mapping[str, float]], str]  # of a run's metrics


@dataclass(frozen=True)
class Family:
    """Experiments with the same metrics: one table.

    Attributes:
        experiments: in the table's order.
        columns: headings, and what stands below them.
    """

    experiments: Sequence[str]
    columns: Mapping[str, Cell]


def number(name: str, decimals: int = 3) -> Cell:
    """A test metric."""
    return lambda metrics: f"{metrics[name]:.{decimals}f}" if name in metrics else ""


def percent(name: str, decimals: int = 1) -> Cell:
    """A test metric in percent."""
    return lambda metrics: f"{100 * metrics[name]:.{decimals}f}" if name in metrics else ""


def times_floor(metrics: Mapping[str, float]) -> str:
    """FID over that of real images."""
    ratio = metrics["test/fid"] / metrics["floor/fid"] if "floor/fid" in metrics else None
    return "" if ratio is None else f"{ratio:.{1 if ratio < 100 else 0}f}"


def significant(name: str, digits: int) -> Cell:
    """A metric with this number of significant digits."""
    return lambda metrics: f"{metrics[name]:.{digits}g}" if name in metrics else ""


FID = {"FID": significant("test/fid", 3), "FID / floor": times_floor}
COVERAGE = {"density": number("test/density", 2), "coverage": number("test/coverage")}
LABELLED = {
    "class accuracy, %": percent("test/class_accuracy"),
    "worst digit, %": percent("test/worst_class"),
    **FID,
    "coverage": COVERAGE["coverage"],
    "CAS, %": percent("test/cas"),
}
SHARES = {"rarest digit, %": percent("test/rarest_digit"), "commonest, %": percent("test/commonest_digit")}
TRANSLATIONS = tuple(
    f"translate_{strategy}_{pairing}"
    for strategy in ("gan", "cgan", "cyclegan")
    for pairing in ("paired", "loose", "unpaired")
)
ARMS = tuple(f"transfer_{head}_{arm}" for head in ("linear", "mlp") for arm in ("frozen", "finetune", "scratch"))
REPORT = tuple(f"student_report/cgan_{name}" for name in ("onehot", "embed20", "embed65", "embed20_after", "leaky"))

FAMILIES = {
    "conditional_gans": Family(
        ("cgan_embed20", "cgan_embed65", "cgan_onehot", "cgan_embed20_after", "cgan_best", "cgan_50_labels", *REPORT),
        LABELLED,
    ),
    "gans": Family(
        ("gan", "gan_best", "gan_plain", "gan_decoder", "gan_latent", "student_report/gan"),
        {**FID, **COVERAGE, **SHARES},
    ),
    "translation": Family(
        ("translate_l1_paired", *TRANSLATIONS, "bottleneck/cgan", "bottleneck/gan"),
        {**FID, "correspondence, %": percent("test/correspondence"), "L1": number("test/l1")},
    ),
    "few_labels": Family(
        (*ARMS, "transfer_semi", *(f"student_report/{arm}" for arm in ARMS)),
        {
            "accuracy, %": percent("test/accuracy"),
            "deviation": percent("test/accuracy_std"),
            "worst": percent("test/accuracy_worst"),
        },
    ),
    "autoencoders": Family(
        ("autoencoder", "autoencoder_affine", "autoencoder_wide"),
        {"corrupted images": number("test/loss", 4), "clean images": number("test/loss_clean", 4)},
    ),
    "classifiers": Family(
        ("scorer", "scorer_rendered", "transformer_classifier"), {"accuracy, %": percent("test/accuracy", 2)}
    ),
    "mimicry": Family(
        ("mimic_conv", "mimic_mlp", "mimic_learned"),
        {
            "largest error, float32": significant("largest_error/float32", 1),
            "float64": significant("largest_error/float64", 1),
            "relative error, %": percent("test/relative_error", 2),
        },
    ),
}
