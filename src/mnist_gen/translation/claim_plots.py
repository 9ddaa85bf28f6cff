"""Figures of a sweep over translators: their translations of the same test images."""

import re
from collections.abc import Mapping, Sequence

import torch
from hydra.utils import instantiate
from torch import Tensor

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import ImageData, to_images
from mnist_gen.data.pairs import first_of_each
from mnist_gen.runs import checkpoint, layout, plots, trust
from mnist_gen.training.trainer import model_of
from mnist_gen.translation.jobs import GAN, TranslationJob, cells_by_rendering
from mnist_gen.translation.translation import Translation


def pictures(jobs: Sequence[TranslationJob], data: ImageData, trusted: Sequence[str] = ()) -> dict[str, plots.Figure]:
    """Two kinds of figures for each rendering, split by any other settings that vary.

    `translations_*` compares strategies and pairings, each by its lowest seed. `seeds_*` compares the seeds of a
    GAN-like network. A figure needs at least two jobs, and `data` supplies the test images. Checkpoints may also
    name classes of `trusted` packages.
    """
    figures: dict[str, plots.Figure] = {}
    for title, cells in cells_by_rendering(jobs).items():
        name = re.sub(r"\W+", "_", title)
        if len(cells) > 1:
            lowest_seeds = {", ".join(key): cell[0] for key, cell in cells.items()}
            figures[f"translations_{name}"] = _compare(title, lowest_seeds, data, trusted)
        for (strategy, pairing), cell in cells.items():
            if strategy == GAN and len(cell) > 1:
                seeds = {f"seed {job.seed}": job for job in cell}
                figures[f"seeds_{name}_{pairing}"] = _compare(f"{title}; {pairing}", seeds, data, trusted)
    return figures


def _compare(title: str, jobs: Mapping[str, TranslationJob], data: ImageData, trusted: Sequence[str]) -> plots.Figure:
    """Rows of inputs, each job's outputs, and true counterparts if there are any."""
    images = to_images(first_of_each(data.test).images)
    rows: dict[str, Tensor] = {"input": images}
    for name, job in jobs.items():
        path = layout.checkpoint_of(job.folder)
        rows[name] = model_of(checkpoint.load(path, trusted), Translation).translate(images)
    configuration = trust.configuration(checkpoint.read(path), path, trusted=trusted)
    rendering = configuration.data.get("rendering")  # the same for all jobs
    if rendering is not None:
        rows["truth"] = instantiate(rendering)(images)
    return plots.grid(
        torch.cat([*rows.values()]), NUM_CLASSES, f"Test images translated: {title}", [*rows], "0123456789"
    )
