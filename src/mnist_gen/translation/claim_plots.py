"""Pictures of a sweep over translators: what each makes of the same test images."""

import re
from collections.abc import Mapping, Sequence

import torch
from hydra.utils import instantiate
from torch import Tensor

from mnist_gen import plots
from mnist_gen.data.mnist import NUM_CLASSES, ImageData, to_images
from mnist_gen.data.pairs import first_of_each
from mnist_gen.runs import checkpoint, layout, trust
from mnist_gen.translation.jobs import GAN, Job, boards
from mnist_gen.translation.translation import Translation


def pictures(jobs: Sequence[Job], data: ImageData) -> dict[str, plots.Figure]:
    """Two kinds of grids for each rendering, and setting beside it.

    `translations_*`, if more than one strategy or pairing was trained on it, of which the job with the lowest seed is
    shown; `seeds_*`, if a GAN-like network was trained by more than one seed, all of them.

    Args:
        jobs: translators.
        data: whose test images are translated.
    """
    grids: dict[str, tuple[str, dict[str, Job]]] = {}
    for name, cells in boards(jobs).items():
        word = re.sub(r"\W+", "_", name)
        if len(cells) > 1:
            grids[f"translations_{word}"] = name, {", ".join(cell): alike[0] for cell, alike in cells.items()}
        for (strategy, pairing), alike in cells.items():
            if strategy == GAN and len(alike) > 1:
                grids[f"seeds_{word}_{pairing}"] = f"{name}; {pairing}", {f"seed {job.seed}": job for job in alike}
    return {name: _board(title, shown, data) for name, (title, shown) in grids.items()}


def _board(name: str, jobs: Mapping[str, Job], data: ImageData) -> plots.Figure:
    """Inputs, what each job makes of them, and their true counterparts."""
    images = to_images(first_of_each(data.test).images)
    made: list[Tensor] = []
    for job in jobs.values():
        model = checkpoint.load(layout.checkpoint_of(job.folder))
        assert isinstance(model, Translation)
        made.append(model.translate(images))
    path, names = layout.checkpoint_of(next(iter(jobs.values())).folder), [*jobs]
    rendering = trust.configuration(checkpoint.read(path), path).data.get("rendering")
    if rendering is not None:  # another set holds no true counterparts
        names, made = [*names, "truth"], [*made, instantiate(rendering)(images)]
    rows, names = torch.cat([images, *made]), ["input", *names]
    return plots.grid(rows, NUM_CLASSES, f"Test images translated: {name}", names, "0123456789")
