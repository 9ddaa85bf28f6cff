"""What the student report says of interpolation, held against walks between digits, and the answer to its question."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS, NOISE, Verdict, apart, difference
from mnist_gen.interpolation.measurements import Findings, Judgement

LABELS = "cGAN, label to label"
EVERY = 0.95  # share from which "every image" holds


def judge(findings: Findings) -> list[Verdict]:
    """The report's sentences. It walked on straight lines."""
    coded, drawn = findings.walks["autoencoder, linear"], findings.walks["GAN, linear"]
    codes, latents = findings.separated["autoencoder"], findings.separated["GAN"]
    ends = ("the autoencoder's ends are clearer digits than the GAN's", coded.ends("legible"), drawn.ends("legible"))
    sharper = "the autoencoder's strips are sharper than the GAN's"
    third = "the GAN comes past other digits on its way more often"
    apart_by = "the autoencoder's space separates digits better"
    return [
        _paired(*ends),
        _paired(sharper, coded.whole("sharpness"), drawn.whole("sharpness"), 1, "in sharpness"),
        *_from_one_to_zero(findings),
        _no_digit("the autoencoder's middle is a shape that is no digit", coded.middle("legible")),
        _every_digit("every image of the GAN between two digits is some digit", drawn),
        *_confused(findings),
        _paired(third, drawn.between("third_digit"), coded.between("third_digit")),
        _apart(f"{apart_by} (linear probe)", codes["linear"], latents["linear"]),
        _apart(f"{apart_by} (neighbours)", codes["knn"], latents["knn"]),
        *_creative(findings),
    ]


def _paired(claim: str, left: Tensor, right: Tensor, scale: float = 100, unit: str = "points") -> Verdict:
    return Verdict(claim, *difference(left.tolist(), right.tolist(), scale, unit, of="pairs"))


def _apart(claim: str, left: Tensor, right: Tensor) -> Verdict:
    return Verdict(claim, *apart(left.float().tolist(), right.float().tolist()))


def _from_one_to_zero(findings: Findings) -> Iterator[Verdict]:
    """The strip that the report shows."""
    middles = findings.chosen["autoencoder, linear"].get((1, 0))
    if middles is not None:
        yield _no_digit("the autoencoder's middle from 1 to 0 is a shape that is no digit", middles.float())


def _confused(findings: Findings) -> Iterator[Verdict]:
    """Whether less can be read between these two than between any others."""
    middles = findings.chosen["GAN, linear"].get((7, 1))
    if middles is not None:
        others = findings.walks["GAN, linear"].middle("legible")
        verdict, text = apart(others.tolist(), middles.float().tolist())
        shares = f"{middles.float().mean().item():.1%} of the middles are legible, {others.mean().item():.1%} of all"
        yield Verdict("between 7 and 1 the GAN's images are confused", verdict, f"{shares} ({text})")


def _no_digit(claim: str, legible: Tensor) -> Verdict:
    """Holds if clearly fewer than half of the middles are `legible` (N,)."""
    verdict, _ = difference([0.5] * len(legible), legible.tolist())
    return Verdict(claim, verdict, f"{legible.mean().item():.1%} of the middles of {len(legible)} ways are legible")


def _every_digit(claim: str, walk: Judgement) -> Verdict:
    between, ends = walk.between("legible").mean().item(), walk.ends("legible").mean().item()
    text = f"{between:.1%} of the images between the ends are legible, {ends:.1%} of the ends"
    return Verdict(claim, HOLDS if between >= EVERY else FAILS, text)


def _creative(findings: Findings) -> Iterator[Verdict]:
    """Whether what is legible lies further from the training images, and all is no less varied."""
    sampled, restored = (findings.novelty.get(name, torch.empty(0)) for name in ("GAN", "autoencoder"))
    if min(len(sampled), len(restored)) < 2:
        return
    verdict, figures = apart(sampled.tolist(), restored.tolist(), 1, "in pixel distance")
    if verdict == HOLDS and findings.diversity["GAN"] < findings.diversity["autoencoder"]:
        verdict = DEPENDS
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in findings.diversity.items())
    means = ", ".join(f"{name} {distances.mean().item():.2f}" for name, distances in findings.novelty.items())
    text = f"distance of legible images to the nearest training image {figures} ({means}); diversity of all: {ratios}"
    yield Verdict("the GAN's images are more creative", verdict, text)


def answer(findings: Findings, verdicts: list[Verdict]) -> str:
    """One paragraph: which strategy gives the better interpolations and why, and where the report was right."""
    walks = findings.walks
    coded, drawn = (_best(walks, kind) for kind in ("autoencoder", "GAN"))
    better, worse = sorted((coded, drawn), key=lambda name: walks[name].midpoint_fid)
    claims = {
        verdict: "; ".join(found.claim for found in verdicts if found.verdict == verdict)
        for verdict in (HOLDS, FAILS, NOISE, DEPENDS)
    }
    lines = [
        f"Halfway between two digits, {better} lies nearer to real images than {worse}: FID of the middles "
        f"{walks[better].midpoint_fid:.2f} against {walks[worse].midpoint_fid:.2f}, real images of the same number "
        f"{findings.floor['FID']:.2f}.",
        f"{_share(walks[better], 'inside')} and {_share(walks[worse], 'inside')} of the middles lie inside the real "
        f"manifold, and the scorer is sure of a digit in {_share(walks[better], 'legible')} and "
        f"{_share(walks[worse], 'legible')}.",
        *_why(walks, better, drawn),
        f"From label to label of the conditional GAN, of one latent, the middles have an FID of "
        f"{walks[LABELS].midpoint_fid:.2f}, and {_share(walks[LABELS], 'legible')} are legible.",
        f"The report is right: {claims[HOLDS] or 'nowhere'}. It is wrong: {claims[FAILS] or 'nowhere'}.",
    ]
    rest = {NOISE: "Within the noise", DEPENDS: "It depends"}
    return " ".join([*lines, *(f"{words}: {claims[verdict]}." for verdict, words in rest.items() if claims[verdict])])


def _best(walks: Mapping[str, Judgement], kind: str) -> str:
    return min((name for name in walks if name.startswith(kind)), key=lambda name: walks[name].midpoint_fid)


def _why(walks: Mapping[str, Judgement], better: str, drawn: str) -> list[str]:
    """What the figures are in keeping with, and whether the way of walking matters."""
    straight, arc = walks["GAN, linear"], walks["GAN, spherical"]
    verdict, _ = difference(straight.midpoint_fids, arc.midpoint_fids, 1, of="fifths")
    bend = f"FID {arc.midpoint_fid:.2f} on arcs, {straight.midpoint_fid:.2f} on straight lines"
    likely = (
        "The likely reason: the GAN learnt to make a digit of any likely latent, on the way from one to another too; "
        "the autoencoder's decoder saw codes of real images alone, and between two of them it blends."
        if better == drawn
        else "The likely reason: the autoencoder starts and ends at real images, and its decoder finds its way between."
    )
    bends = {
        HOLDS: f"Through the GAN's latents arcs, which keep to the length that latents have, are better ({bend}).",
        FAILS: f"That straight lines cut the latents' length short does no harm: they are better ({bend}).",
        NOISE: f"The difference between arcs and straight lines is within the noise ({bend}).",
    }
    return [likely, bends[verdict]]


def _share(walk: Judgement, figure: str) -> str:
    return f"{walk.middle(figure).mean().item():.0%}"
