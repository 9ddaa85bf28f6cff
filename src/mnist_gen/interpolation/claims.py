"""Verdicts on the student report's claims about interpolation, and the answer to its question."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from mnist_gen.evaluation.fidelity import Metrics
from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS, NOISE, Verdict, paired_difference, unpaired_difference
from mnist_gen.interpolation.measurements import PathMetrics

LABELS = "cGAN, label to label"
EVERY = 0.95  # share from which a claim about every image holds


def judge(paths: Mapping[str, PathMetrics], values: Mapping[str, Tensor], metrics: Metrics) -> Iterator[Verdict]:
    """Judges the student report's claims, on straight lines as it drew them.

    `values` has, by their names in metrics.json, the values (N,) whose mean is written there.
    """
    autoencoder, gan = paths["autoencoder, linear"], paths["GAN, linear"]
    ends = autoencoder.ends("legible"), gan.ends("legible")
    yield _paired("the autoencoder's ends are clearer digits than the GAN's", *ends)
    sharpness = autoencoder.by_image["sharpness"].mean(dim=0), gan.by_image["sharpness"].mean(dim=0)
    yield _paired("the autoencoder's strips are sharper than the GAN's", *sharpness, 1, "in sharpness")
    one_to_zero = values.get("autoencoder, linear/legible_1_0")
    if one_to_zero is not None:  # the student report shows this strip
        yield _no_digit("the autoencoder's midpoint from 1 to 0 is no digit", one_to_zero)
    yield _no_digit("the autoencoder's midpoint is no digit", autoencoder.midpoint("legible"))
    yield _every_digit("every image of the GAN between two digits is some digit", gan)
    seven_to_one = values.get("GAN, linear/legible_7_1")
    if seven_to_one is not None:
        yield _confused("between 7 and 1 the GAN's images are confused", seven_to_one, gan.midpoint("legible"))
    third_digit = gan.between("third_digit"), autoencoder.between("third_digit")
    yield _paired("the GAN's paths pass through other digits more often", *third_digit)
    for key, name in (("linear", "linear probe"), ("knn", "neighbours")):
        left, right = (values[f"{model}/separability_{key}"].tolist() for model in ("autoencoder", "GAN"))
        yield Verdict(f"the autoencoder's space separates digits better ({name})", *unpaired_difference(left, right))
    if {"GAN/novelty", "autoencoder/novelty"} <= values.keys():
        yield _creative("the GAN's images are more creative", values, metrics)


def _paired(claim: str, left: Tensor, right: Tensor, scale: float = 100, unit: str = "points") -> Verdict:
    return Verdict(claim, *paired_difference(left.tolist(), right.tolist(), scale, unit, of="pairs"))


def _no_digit(claim: str, legible: Tensor) -> Verdict:
    """Holds if clearly fewer than half of the midpoints are `legible` (N,)."""
    verdict, _ = paired_difference([0.5] * len(legible), legible.tolist())
    return Verdict(claim, verdict, f"{legible.mean().item():.1%} of the midpoints of {len(legible)} paths are legible")


def _every_digit(claim: str, paths: PathMetrics) -> Verdict:
    between, ends = paths.between("legible").mean().item(), paths.ends("legible").mean().item()
    text = f"{between:.1%} of the images between the ends are legible, {ends:.1%} of the ends"
    return Verdict(claim, HOLDS if between >= EVERY else FAILS, text)


def _confused(claim: str, legible: Tensor, others: Tensor) -> Verdict:
    """Whether fewer midpoints are legible between these digits than between random digits."""
    verdict, difference = unpaired_difference(others.tolist(), legible.tolist())
    shares = f"{legible.mean().item():.1%} of the midpoints are legible, {others.mean().item():.1%} of all"
    return Verdict(claim, verdict, f"{shares} ({difference})")


def _creative(claim: str, values: Mapping[str, Tensor], metrics: Metrics) -> Verdict:
    """Whether legible images lie further from the training images, without a loss of diversity."""
    gan, autoencoder = values["GAN/novelty"].tolist(), values["autoencoder/novelty"].tolist()
    verdict, difference = unpaired_difference(gan, autoencoder, 1, "in pixel distance")
    if verdict == HOLDS and metrics["GAN/diversity"] < metrics["autoencoder/diversity"]:
        verdict = DEPENDS
    means, ratios = _by_model(metrics, "/novelty"), _by_model(metrics, "/diversity")
    text = f"distance of legible images to the nearest training image {difference} ({means}); diversity: {ratios}"
    return Verdict(claim, verdict, text)


def _by_model(metrics: Metrics, end: str) -> str:
    found = {name.removesuffix(end): value for name, value in metrics.items() if name.endswith(end)}
    return ", ".join(f"{model} {value:.2f}" for model, value in found.items())


def answer(paths: Mapping[str, PathMetrics], metrics: Metrics, verdicts: Sequence[Verdict]) -> str:
    """Answers in one paragraph which space interpolates better and why, and where the student report is right."""
    fids = {name: metrics[f"{name}/midpoint_fid"] for name in paths}
    models = [[name for name in paths if name.startswith(model)] for model in ("autoencoder", "GAN")]
    better, worse = sorted((min(names, key=fids.__getitem__) for names in models), key=fids.__getitem__)

    def share(name: str, metric: str) -> str:
        return f"{metrics[f'{name}/{metric}_middle']:.0%}"

    claims = {
        verdict: "; ".join(judged.claim for judged in verdicts if judged.verdict == verdict)
        for verdict in (HOLDS, FAILS, NOISE, DEPENDS)
    }
    lines = [
        f"Halfway between two digits, {better} is closer to real images than {worse}: the FID of the midpoints is "
        f"{fids[better]:.2f} against {fids[worse]:.2f}, with a real-data floor of {metrics['floor/midpoint_fid']:.2f}.",
        f"{share(better, 'inside')} and {share(worse, 'inside')} of the midpoints lie inside the real manifold, and "
        f"{share(better, 'legible')} and {share(worse, 'legible')} are legible to the scorer.",
        "The likely reason: the GAN learned to turn any likely latent into a digit, also between two digits. The "
        "autoencoder's decoder saw only latents of real images, and between two of them it blends."
        if better.startswith("GAN")
        else "The likely reason: the autoencoder's paths start and end at real images, and its decoder connects them.",
        _arcs_or_lines(paths["GAN, linear"], paths["GAN, spherical"]),
        f"The conditional GAN's midpoints, from label to label with a fixed latent, have an FID of "
        f"{fids[LABELS]:.2f}, and {share(LABELS, 'legible')} are legible.",
        f"The student report is right: {claims[HOLDS] or 'nowhere'}. It is wrong: {claims[FAILS] or 'nowhere'}.",
    ]
    rest = {NOISE: "Within the noise", DEPENDS: "It depends"}
    return " ".join([*lines, *(f"{words}: {claims[verdict]}." for verdict, words in rest.items() if claims[verdict])])


def _arcs_or_lines(line: PathMetrics, arc: PathMetrics) -> str:
    verdict, _ = paired_difference(line.midpoint_fids, arc.midpoint_fids, 1, of="fifths")
    fids = f"FID {arc.midpoint_fid:.2f} on arcs, {line.midpoint_fid:.2f} on straight lines"
    return {
        HOLDS: f"Through the GAN's latents, arcs beat straight lines, because they keep the latents' length ({fids}).",
        FAILS: f"Through the GAN's latents, straight lines beat arcs, although they shorten the latents ({fids}).",
        NOISE: f"The difference between arcs and straight lines is within the noise ({fids}).",
    }[verdict]
