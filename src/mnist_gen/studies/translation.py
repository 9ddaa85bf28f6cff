"""Pictures of a sweep over translators: what each makes of the same test images."""

import re
from collections.abc import Sequence

import torch
from hydra.utils import instantiate
from torch import Tensor

from mnist_gen import checkpoint, figures
from mnist_gen.claims.translators import Job, boards
from mnist_gen.data import NUM_CLASSES, ImageData, to_images
from mnist_gen.pairs import first_of_each
from mnist_gen.translation import Translation


def pictures(jobs: Sequence[Job], data: ImageData) -> dict[str, figures.Figure]:
    """A grid for each rendering, and setting beside it, that more than one strategy or pairing was trained on.

    Args:
        jobs: of which the one with the lowest seed is shown.
        data: whose test images are translated.
    """
    found = {name: cells for name, cells in boards(jobs).items() if len(cells) > 1}
    return {
        "translations_" + re.sub(r"\W+", "_", name): _board(name, [alike[0] for alike in cells.values()], data)
        for name, cells in found.items()
    }


def _board(name: str, jobs: Sequence[Job], data: ImageData) -> figures.Figure:
    """Inputs, what each job makes of them, and their true counterparts."""
    images = to_images(first_of_each(data.test).images)
    made: list[Tensor] = []
    for job in jobs:
        model = checkpoint.load(checkpoint.of_run(job.folder))
        assert isinstance(model, Translation)
        made.append(model.translate(images))
    path, names = checkpoint.of_run(jobs[0].folder), [f"{job.strategy}, {job.pairing}" for job in jobs]
    rendering = checkpoint.configuration(checkpoint.read(path), path).data.get("rendering")
    if rendering is not None:  # another set holds no true counterparts
        names, made = [*names, "truth"], [*made, instantiate(rendering)(images)]
    rows, names = torch.cat([images, *made]), ["input", *names]
    return figures.grid(rows, NUM_CLASSES, f"Test images translated: {name}", names, "0123456789")
