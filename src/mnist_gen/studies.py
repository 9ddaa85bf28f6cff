"""Studies of trained models: what they are compared by, their files and their pictures. Nothing is trained here."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mnist_gen import fidelity, figures
from mnist_gen.autoencoder import Autoencoder
from mnist_gen.claims import interpolation as claims
from mnist_gen.claims import markdown
from mnist_gen.data import NUM_CLASSES, ImageData, to_images
from mnist_gen.errors import UserError
from mnist_gen.gan import GAN
from mnist_gen.interpolation import Findings, Known, Reference, Space, drawn, encoded, measure, spaces
from mnist_gen.mixtures import CodeMixture

FIDELITY = ("fid", "density", "coverage", "rarest_digit", "commonest_digit", "memorised")
SHOWN = 20  # samples of each generator


def interpolation(
    folder: Path,
    data: ImageData,
    scorer: fidelity.Scorer,
    models: tuple[Autoencoder, GAN, GAN],
    pairs: int,
    steps: int,
    digits: Sequence[tuple[int, int]],
    seed: int,
) -> fidelity.Metrics:
    """Walks between digits: pictures of some pairs, figures over many, and the answer to the report's question.

    Leaves figures/*.png, TensorBoard events and answer.md, which is printed too.

    Args:
        folder: the run's.
        data: set up; test images are the autoencoder's ends and what all is judged against.
        scorer: reads digits.
        models: an autoencoder, a GAN and a conditional GAN.
        pairs: of different digits, the same for each space.
        steps: images on a way, both ends included.
        digits: pairs that are drawn.
        seed: of all choices.

    Raises:
        UserError: a number or a pair of digits is impossible, or a GAN has labels where it should not.
    """
    autoencoder, gan, cgan = models
    check_walks(pairs, steps, digits)
    check_unconditional(gan)
    check_conditional(cgan)
    test, training = data.test.to(autoencoder.device), data.train.images.to(autoencoder.device)
    reference = Reference(training, fidelity.read(scorer, to_images(test.images))[0])
    codes, latents = encoded(autoencoder, test), drawn(gan, len(test), scorer, seed)
    found = spaces(autoencoder, codes, gan, latents, cgan)
    known = {"autoencoder": codes, "GAN": latents}
    findings = measure(found, known, scorer, reference, pairs, steps, seed)
    verdicts = claims.judge(findings)
    text = f"{claims.answer(findings, verdicts)}\n\n{table(findings)}\n{markdown(verdicts)}"
    (folder / "answer.md").write_text(text)
    print(text)
    pictures = _strips(found, digits, steps, seed) | {
        "along": _along(findings, steps),
        "beside": _beside(to_images(test.images), codes, latents, cgan, seed),
    }
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("answer", text)
        for name, picture in pictures.items():
            figures.save(picture, folder / "figures" / f"{name}.png")
            writer.add_figure(name, picture)
    return _metrics(findings)


def generators(
    folder: Path,
    data: ImageData,
    scorer: fidelity.Scorer,
    models: tuple[Autoencoder, GAN],
    samples: int,
    codes: int,
    components: Sequence[int],
    seed: int,
) -> fidelity.Metrics:
    """The autoencoder as a generator beside the GAN: its codes are drawn from Gaussians fitted to those of images.

    Leaves figures/samples.png, TensorBoard events and generators.md, which is printed too.

    Args:
        folder: the run's.
        data: set up; codes are those of training images, and all is judged against the test images.
        scorer: reads digits.
        models: an autoencoder and an unconditional GAN.
        samples: of each.
        codes: to which Gaussians are fitted.
        components: Gaussians, for each mixture to try.
        seed: of all choices.

    Raises:
        UserError: a number is impossible, or the GAN has labels.
    """
    autoencoder, gan = models
    check_unconditional(gan)
    random, device = torch.Generator().manual_seed(seed), autoencoder.device
    training, test = data.train.to(device), data.test.to(device)
    fitted = to_images(training.drawn(codes, random).images)
    mixtures = {count: CodeMixture(autoencoder, fitted, count, seed) for count in components}
    made = {
        f"autoencoder, {count} Gaussian{'s' * (count > 1)}": m.sample(samples, seed) for count, m in mixtures.items()
    }
    made |= {
        "GAN": gan.sample(count=samples, seed=seed),
        "real images": to_images(training.drawn(samples, random).images),
    }
    features, _ = fidelity.read(scorer, to_images(test.images))
    limit = fidelity.memorisation_limit(to_images(data.val.images).to(device), training.images)
    found = {}
    for name, images in made.items():
        found[name] = fidelity.glance(scorer, fidelity.Sample(images, None), features)
        found[name]["memorised"] = fidelity.memorised(images, training.images, limit)
    rows = [[name, *(f"{metrics[figure]:.3f}" for figure in FIDELITY)] for name, metrics in found.items()]
    text = _markdown(("generator", *FIDELITY), rows)
    (folder / "generators.md").write_text(text)
    print(text)
    shown = torch.cat([images[:SHOWN] for images in made.values()])
    picture = figures.grid(shown, SHOWN, "Samples of each generator", list(made))
    figures.save(picture, folder / "figures" / "samples.png")
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("generators", text)
        writer.add_figure("samples", picture)
    return {f"{name}/{figure}": value for name, metrics in found.items() for figure, value in metrics.items()}


def check_walks(pairs: int, steps: int, digits: Sequence[tuple[int, int]]) -> None:
    """Refuses walks that cannot be.

    Raises:
        UserError: says which, and what could be.
    """
    if pairs < 2:
        raise UserError(f"pairs={pairs}: must be at least 2.")
    if steps < 3 or steps % 2 == 0:
        raise UserError(f"steps={steps}: must be odd and at least 3, so that a way has a middle.")
    for pair in digits:
        if len(pair) != 2 or not set(pair) <= {*range(NUM_CLASSES)} or pair[0] == pair[1]:
            raise UserError(f"digits: {list(pair)} must be two different digits from 0 to {NUM_CLASSES - 1}.")


def check_unconditional(gan: GAN) -> None:
    """Refuses a GAN with labels.

    Raises:
        UserError: says what was expected.
    """
    if gan.conditional:
        raise UserError("gan was trained with labels: name one made by experiment=gan.")


def check_conditional(cgan: GAN) -> None:
    """Refuses a GAN without labels.

    Raises:
        UserError: says what was expected.
    """
    if not cgan.conditional:
        raise UserError("cgan was trained without labels: name one made by experiment=cgan_embed20.")


def table(findings: Findings) -> str:
    """The walks' figures in their middles, a row a space."""
    head = (
        "middle of the way",
        "FID",
        "legible",
        "third digit",
        "entropy",
        "inside",
        "density",
        "nearest",
        "detour",
        "jump",
    )
    rows = []
    for name, walk in findings.walks.items():
        middle = {figure: walk.middle(figure).mean().item() for figure in walk.along}
        shares = {figure: f"{100 * middle[figure]:.1f} %" for figure in ("legible", "third_digit", "inside")}
        values = {figure: f"{middle[figure]:.2f}" for figure in ("entropy", "density", "nearest")}
        ways = {figure: f"{value.mean():.2f}" for figure, value in walk.ways.items()}
        found = {"fid": f"{walk.midpoint_fid:.2f}"} | shares | values | ways
        order = ("fid", "legible", "third_digit", "entropy", "inside", "density", "nearest", "detour", "jump")
        rows.append([name, *(found[figure] for figure in order)])
    return _markdown(head, [*rows, ["real images", f"{findings.floor:.2f}", *[""] * (len(head) - 2)]])


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _metrics(findings: Findings) -> fidelity.Metrics:
    metrics: fidelity.Metrics = {"floor/midpoint_fid": findings.floor}
    for name, walk in findings.walks.items():
        metrics[f"{name}/midpoint_fid"] = walk.midpoint_fid
        for figure in walk.along:
            metrics[f"{name}/{figure}_ends"] = walk.ends(figure).mean().item()
            metrics[f"{name}/{figure}_middle"] = walk.middle(figure).mean().item()
        metrics |= {f"{name}/{figure}": values.mean().item() for figure, values in walk.ways.items()}
    for name, hits in findings.separated.items():
        metrics |= {f"{name}/separability_{reader}": hit.float().mean().item() for reader, hit in hits.items()}
    return metrics | {f"{name}/novelty": distances.mean().item() for name, distances in findings.novelty.items()}


def _strips(
    found: Mapping[str, Space], digits: Sequence[tuple[int, int]], steps: int, seed: int
) -> dict[str, figures.Figure]:
    strips = {}
    for one, other in digits:
        first, second = torch.tensor([one]), torch.tensor([other])
        rows = torch.cat([space.walk(first, second, steps, seed).flatten(0, 1) for space in found.values()])
        strips[f"{one}_to_{other}"] = figures.grid(rows, steps, f"From {one} to {other}", list(found))
    return strips


def _along(findings: Findings, steps: int) -> figures.Figure:
    panels = {
        figure: {name: walk.along[figure].mean(dim=1).tolist() for name, walk in findings.walks.items()}
        for figure in next(iter(findings.walks.values())).along
    }
    title = "On the way from one digit to another, means over all pairs"
    return figures.charts(torch.linspace(0, 1, steps).tolist(), panels, title, "share of the way")


def _beside(originals: Tensor, codes: Known, latents: Known, cgan: GAN, seed: int) -> figures.Figure:
    """Real images over what the autoencoder makes of them, beside samples of both GANs, a column a digit."""
    at = [int((codes.digits == digit).nonzero()[0]) for digit in range(NUM_CLASSES)]
    shown = [(latents.digits == digit).nonzero().flatten() for digit in range(NUM_CLASSES)]
    samples = torch.stack([latents.images[found[0]] if len(found) else latents.images[0] * 0 for found in shown])
    rows = torch.cat([originals[at], codes.images[at], samples, cgan.sample(count=NUM_CLASSES, seed=seed)])
    names = ("original", "restored", "GAN", "cGAN")
    return figures.grid(rows, NUM_CLASSES, "Test images, the autoencoder's, and samples of the GANs", names)
