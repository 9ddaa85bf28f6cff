"""What the student report says of interpolation, held against walks between digits, and the answer to its question."""

from collections.abc import Mapping

from torch import Tensor

from mnist_gen.claims import FAILS, HOLDS, NOISE, Verdict, apart, difference
from mnist_gen.walks import Findings, Judgement

LABELS = "cGAN, label to label"
EVERY = 0.95  # share from which "every image" holds


def judge(findings: Findings) -> list[Verdict]:
    """The report's sentences. It walked on straight lines."""
    coded, drawn = findings.walks["autoencoder, linear"], findings.walks["GAN, linear"]
    codes, latents = findings.separated["autoencoder"], findings.separated["GAN"]
    ends = ("the autoencoder's ends are clearer digits than the GAN's", coded.ends("legible"), drawn.ends("legible"))
    third = "the GAN comes past other digits on its way more often"
    apart_by = "the autoencoder's space separates digits better"
    return [
        _paired(*ends),
        _no_digit("the autoencoder's middle is a shape that is no digit", coded),
        _every_digit("every image of the GAN between two digits is some digit", drawn),
        _paired(third, drawn.between("third_digit"), coded.between("third_digit")),
        _apart(f"{apart_by} (linear probe)", codes["linear"], latents["linear"]),
        _apart(f"{apart_by} (neighbours)", codes["knn"], latents["knn"]),
        _creative(findings),
    ]


def _paired(claim: str, left: Tensor, right: Tensor) -> Verdict:
    return Verdict(claim, *difference(left.tolist(), right.tolist(), of="pairs"))


def _apart(claim: str, left: Tensor, right: Tensor) -> Verdict:
    return Verdict(claim, *apart(left.float().tolist(), right.float().tolist()))


def _no_digit(claim: str, walk: Judgement) -> Verdict:
    middle, ends = walk.middle("legible").mean().item(), walk.ends("legible").mean().item()
    text = f"{middle:.1%} of the middles are legible, {ends:.1%} of the ends"
    return Verdict(claim, HOLDS if middle < 0.5 else FAILS, text)


def _every_digit(claim: str, walk: Judgement) -> Verdict:
    between, ends = walk.between("legible").mean().item(), walk.ends("legible").mean().item()
    text = f"{between:.1%} of the images between the ends are legible, {ends:.1%} of the ends"
    return Verdict(claim, HOLDS if between >= EVERY else FAILS, text)


def _creative(findings: Findings) -> Verdict:
    """Further from the training images, and not for want of variety."""
    sampled, restored = findings.novelty["GAN"], findings.novelty["autoencoder"]
    verdict, figures = apart(sampled.tolist(), restored.tolist(), 1, "in pixel distance")
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in findings.diversity.items())
    means = ", ".join(f"{name} {distances.mean().item():.2f}" for name, distances in findings.novelty.items())
    text = f"distance to the nearest training image {figures} ({means}); diversity over that of real images: {ratios}"
    return Verdict("the GAN's images are further from training images (creative)", verdict, text)


def answer(findings: Findings, verdicts: list[Verdict]) -> str:
    """One paragraph: which strategy gives the better interpolations and why, and where the report was right."""
    walks = findings.walks
    coded, drawn = (_best(walks, kind) for kind in ("autoencoder", "GAN"))
    better, worse = sorted((coded, drawn), key=lambda name: walks[name].midpoint_fid)
    claims = {
        verdict: "; ".join(found.claim for found in verdicts if found.verdict == verdict)
        for verdict in (HOLDS, FAILS, NOISE)
    }
    lines = [
        f"Halfway between two digits, {better} lies nearer to real images than {worse}: FID of the middles "
        f"{walks[better].midpoint_fid:.2f} against {walks[worse].midpoint_fid:.2f}, real images of the same number "
        f"{findings.floor:.2f}.",
        f"{_share(walks[better], 'inside')} and {_share(walks[worse], 'inside')} of the middles lie inside the real "
        f"manifold, and the scorer is sure of a digit in {_share(walks[better], 'legible')} and "
        f"{_share(walks[worse], 'legible')}.",
        *_why(walks, better, drawn),
        f"From label to label of the conditional GAN, of one latent, the middles have an FID of "
        f"{walks[LABELS].midpoint_fid:.2f}, and {_share(walks[LABELS], 'legible')} are legible.",
        f"The report is right: {claims[HOLDS] or 'nowhere'}. It is wrong: {claims[FAILS] or 'nowhere'}.",
    ]
    return " ".join(lines + ([f"Within the noise: {claims[NOISE]}."] if claims[NOISE] else []))


def _best(walks: Mapping[str, Judgement], kind: str) -> str:
    return min((name for name in walks if name.startswith(kind)), key=lambda name: walks[name].midpoint_fid)


def _why(walks: Mapping[str, Judgement], better: str, drawn: str) -> list[str]:
    """What the figures are in keeping with."""
    straight, arc = walks["GAN, linear"].midpoint_fid, walks["GAN, spherical"].midpoint_fid
    bend = f"FID {arc:.2f} on arcs, {straight:.2f} on straight lines"
    reasons = []
    if better == drawn:
        reasons.append(
            "The GAN learnt to make a digit of any latent that is likely, on the way from one to another too; the "
            "autoencoder's decoder saw codes of real images alone, and between two of them it blends."
        )
    else:
        reasons.append("The autoencoder starts and ends at real images, and its decoder finds its way between them.")
    if arc < straight:
        reasons.append(f"Arcs keep to the length that latents have, straight lines cut it short ({bend}).")
    else:
        reasons.append(f"That straight lines cut the latents' length short does no harm here ({bend}).")
    return reasons


def _share(walk: Judgement, figure: str) -> str:
    return f"{walk.middle(figure).mean().item():.0%}"
