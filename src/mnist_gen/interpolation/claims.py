"""Verdicts on the student report's claims about interpolation, and the answer to its question."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS, NOISE, Verdict, paired_difference, unpaired_difference
from mnist_gen.interpolation.measurements import Measurements, PathMetrics

LABELS = "cGAN, label to label"
EVERY = 0.95  # share from which a claim about every image holds


def judge(measured: Measurements) -> list[Verdict]:
    """Judges the student report's claims, on straight lines as in the report."""
    autoencoder, gan = measured.paths["autoencoder, linear"], measured.paths["GAN, linear"]
    hits, other_hits = measured.separability["autoencoder"], measured.separability["GAN"]
    ends = autoencoder.ends("legible"), gan.ends("legible")
    sharpness = autoencoder.by_image["sharpness"].mean(dim=0), gan.by_image["sharpness"].mean(dim=0)
    third_digit = gan.between("third_digit"), autoencoder.between("third_digit")
    return [
        _paired("the autoencoder's ends are clearer digits than the GAN's", *ends),
        _paired("the autoencoder's strips are sharper than the GAN's", *sharpness, 1, "in sharpness"),
        *_from_one_to_zero(measured),
        _no_digit("the autoencoder's midpoint is no digit", autoencoder.midpoint("legible")),
        _every_digit("every image of the GAN between two digits is some digit", gan),
        *_confused(measured),
        _paired("the GAN's paths pass through other digits more often", *third_digit),
        _unpaired(
            "the autoencoder's space separates digits better (linear probe)", hits["linear"], other_hits["linear"]
        ),
        _unpaired("the autoencoder's space separates digits better (neighbours)", hits["knn"], other_hits["knn"]),
        *_creative(measured),
    ]


def _paired(claim: str, left: Tensor, right: Tensor, scale: float = 100, unit: str = "points") -> Verdict:
    return Verdict(claim, *paired_difference(left.tolist(), right.tolist(), scale, unit, of="pairs"))


def _unpaired(claim: str, left: Tensor, right: Tensor) -> Verdict:
    return Verdict(claim, *unpaired_difference(left.float().tolist(), right.float().tolist()))


def _from_one_to_zero(measured: Measurements) -> Iterator[Verdict]:
    """The student report shows this strip."""
    midpoints = measured.legible_midpoints["autoencoder, linear"].get((1, 0))
    if midpoints is not None:
        yield _no_digit("the autoencoder's midpoint from 1 to 0 is no digit", midpoints.float())


def _confused(measured: Measurements) -> Iterator[Verdict]:
    """Whether fewer midpoints are legible between 7 and 1 than between random digits."""
    midpoints = measured.legible_midpoints["GAN, linear"].get((7, 1))
    if midpoints is not None:
        others = measured.paths["GAN, linear"].midpoint("legible")
        verdict, text = unpaired_difference(others.tolist(), midpoints.float().tolist())
        shares = (
            f"{midpoints.float().mean().item():.1%} of the midpoints are legible, {others.mean().item():.1%} of all"
        )
        yield Verdict("between 7 and 1 the GAN's images are confused", verdict, f"{shares} ({text})")


def _no_digit(claim: str, legible: Tensor) -> Verdict:
    """Holds if clearly fewer than half of the midpoints are `legible` (N,)."""
    verdict, _ = paired_difference([0.5] * len(legible), legible.tolist())
    return Verdict(claim, verdict, f"{legible.mean().item():.1%} of the midpoints of {len(legible)} paths are legible")


def _every_digit(claim: str, paths: PathMetrics) -> Verdict:
    between, ends = paths.between("legible").mean().item(), paths.ends("legible").mean().item()
    text = f"{between:.1%} of the images between the ends are legible, {ends:.1%} of the ends"
    return Verdict(claim, HOLDS if between >= EVERY else FAILS, text)


def _creative(measured: Measurements) -> Iterator[Verdict]:
    """Whether legible images lie further from the training images, without a loss of diversity."""
    gan, autoencoder = (measured.novelty.get(name, torch.empty(0)) for name in ("GAN", "autoencoder"))
    if min(len(gan), len(autoencoder)) < 2:
        return
    verdict, difference = unpaired_difference(gan.tolist(), autoencoder.tolist(), 1, "in pixel distance")
    if verdict == HOLDS and measured.diversity["GAN"] < measured.diversity["autoencoder"]:
        verdict = DEPENDS
    means = ", ".join(f"{name} {distances.mean().item():.2f}" for name, distances in measured.novelty.items())
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in measured.diversity.items())
    text = f"distance of legible images to the nearest training image {difference} ({means}); diversity: {ratios}"
    yield Verdict("the GAN's images are more creative", verdict, text)


def answer(measured: Measurements, verdicts: list[Verdict]) -> str:
    """Answers in one paragraph which space interpolates better and why, and where the student report is right."""
    autoencoder, gan = (_best(measured, model) for model in ("autoencoder", "GAN"))
    better, worse = sorted((autoencoder, gan), key=lambda name: measured.paths[name].midpoint_fid)
    best, other, labels = (measured.paths[name] for name in (better, worse, LABELS))
    claims = {
        verdict: "; ".join(judged.claim for judged in verdicts if judged.verdict == verdict)
        for verdict in (HOLDS, FAILS, NOISE, DEPENDS)
    }
    lines = [
        f"Halfway between two digits, {better} is closer to real images than {worse}: the FID of the midpoints is "
        f"{best.midpoint_fid:.2f} against {other.midpoint_fid:.2f}, with a real-data floor of "
        f"{measured.floor['FID']:.2f}.",
        f"{_share(best, 'inside')} and {_share(other, 'inside')} of the midpoints lie inside the real manifold, and "
        f"{_share(best, 'legible')} and {_share(other, 'legible')} are legible to the scorer.",
        "The likely reason: the GAN learned to turn any likely latent into a digit, also between two digits. The "
        "autoencoder's decoder saw only latents of real images, and between two of them it blends."
        if better == gan
        else "The likely reason: the autoencoder's paths start and end at real images, and its decoder connects them.",
        _arcs_or_lines(measured),
        f"The conditional GAN's midpoints, from label to label with a fixed latent, have an FID of "
        f"{labels.midpoint_fid:.2f}, and {_share(labels, 'legible')} are legible.",
        f"The student report is right: {claims[HOLDS] or 'nowhere'}. It is wrong: {claims[FAILS] or 'nowhere'}.",
    ]
    rest = {NOISE: "Within the noise", DEPENDS: "It depends"}
    return " ".join([*lines, *(f"{words}: {claims[verdict]}." for verdict, words in rest.items() if claims[verdict])])


def _best(measured: Measurements, model: str) -> str:
    names = (name for name in measured.paths if name.startswith(model))
    return min(names, key=lambda name: measured.paths[name].midpoint_fid)


def _arcs_or_lines(measured: Measurements) -> str:
    """Compares the curves through the GAN's latents."""
    line, arc = measured.paths["GAN, linear"], measured.paths["GAN, spherical"]
    verdict, _ = paired_difference(line.midpoint_fids, arc.midpoint_fids, 1, of="fifths")
    fids = f"FID {arc.midpoint_fid:.2f} on arcs, {line.midpoint_fid:.2f} on straight lines"
    return {
        HOLDS: f"Through the GAN's latents, arcs beat straight lines, because they keep the latents' length ({fids}).",
        FAILS: f"Through the GAN's latents, straight lines beat arcs, although they shorten the latents ({fids}).",
        NOISE: f"The difference between arcs and straight lines is within the noise ({fids}).",
    }[verdict]


def _share(paths: PathMetrics, metric: str) -> str:
    return f"{paths.midpoint(metric).mean().item():.0%}"
