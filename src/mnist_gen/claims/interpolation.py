"""What the student report says of interpolation, held against walks between digits, and the answer to its question."""

from torch import Tensor

from mnist_gen.claims import FAILS, HOLDS, NOISE, Verdict, difference
from mnist_gen.interpolation import Findings

EVERY = 0.95  # share from which "every image" holds


def judge(findings: Findings) -> list[Verdict]:
    """The report's sentences. It walked on straight lines."""
    coded, drawn = findings.walks["autoencoder, linear"], findings.walks["GAN, linear"]
    codes, latents = findings.separated["autoencoder"], findings.separated["GAN"]
    restored, sampled = findings.novelty["autoencoder"], findings.novelty["GAN"]
    third = {name: walk.along["third_digit"].mean(dim=0) for name, walk in (("coded", coded), ("drawn", drawn))}
    every = drawn.middle("legible").mean().item()
    return [
        _more("the autoencoder's ends are clearer digits than the GAN's", coded.ends("legible"), drawn.ends("legible")),
        _more("the autoencoder's middle is a shape that is no digit", coded.ends("legible"), coded.middle("legible")),
        Verdict(
            "every image of the GAN between two digits is some digit",
            HOLDS if every >= EVERY else FAILS,
            f"{100 * every:.1f} % of the middles are legible",
        ),
        _more("the GAN comes past other digits on its way more often", third["drawn"], third["coded"]),
        _more("the autoencoder's space separates digits better (linear probe)", codes["linear"], latents["linear"]),
        _more("the autoencoder's space separates digits better (neighbours)", codes["knn"], latents["knn"]),
        _more("the GAN's images are further from training images (creative)", sampled, restored, 1, "in pixels"),
    ]


def _more(claim: str, left: Tensor, right: Tensor, scale: float = 100, unit: str = "points") -> Verdict:
    verdict, figures = difference(left.float().tolist(), right.float().tolist(), scale, unit, "pairs")
    return Verdict(claim, verdict, figures)


def answer(findings: Findings, verdicts: list[Verdict]) -> str:
    """One paragraph: which strategy gives the better interpolations and why, and where the report was right."""
    walks = findings.walks

    def best(kind: str) -> str:
        return min((name for name in walks if name.startswith(kind)), key=lambda name: walks[name].midpoint_fid)

    coded, drawn = best("autoencoder"), best("GAN")
    better, worse = sorted((coded, drawn), key=lambda name: walks[name].midpoint_fid)

    def share(name: str, figure: str) -> str:
        return f"{100 * walks[name].middle(figure).mean():.0f} %"

    right = "; ".join(verdict.claim for verdict in verdicts if verdict.verdict == HOLDS)
    wrong = "; ".join(verdict.claim for verdict in verdicts if verdict.verdict == FAILS)
    unclear = "; ".join(verdict.claim for verdict in verdicts if verdict.verdict == NOISE)
    middles = {name: f"{walk.midpoint_fid:.2f}" for name, walk in walks.items()}
    lines = [
        f"Halfway between two digits ({better}) lies nearer to real images than ({worse}): FID of the middles "
        f"{middles[better]} against {middles[worse]}, real images of the same number {findings.floor:.2f}.",
        f"{share(better, 'inside')} and {share(worse, 'inside')} of the middles lie inside the real manifold, and the "
        f"scorer is sure of a digit in {share(better, 'legible')} and {share(worse, 'legible')}.",
        "A GAN is trained on every point of its space, the middle of any way included; an autoencoder only on codes of "
        "real images, and between two of them its decoder blends."
        if better == drawn
        else "The autoencoder's ends are real images' codes, near enough for its decoder to find its way between them.",
        f"The report is right: {right or 'nowhere'}. It is wrong: {wrong or 'nowhere'}."
        + (f" Within the noise: {unclear}." if unclear else ""),
    ]
    return " ".join(lines)
