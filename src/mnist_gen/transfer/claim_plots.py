"""Figures for a sweep over classifiers: how each arm learns over the epochs."""

import statistics
from collections.abc import Sequence

from mnist_gen.runs import plots
from mnist_gen.transfer.claims import Job, by_arm

CURVES = {"loss": "val/loss", "accuracy": "val/accuracy"}  # on images that do not train


def pictures(jobs: Sequence[Job]) -> dict[str, plots.Figure]:
    """A figure for each head, by file name: loss and accuracy of each arm, as means over the draws of labels."""
    arms, figures = by_arm(jobs), {}
    for head in sorted({head for head, _ in arms}):
        found = {arm: job for (of, arm), job in arms.items() if of == head}
        epochs = min(len(job.draws["history"]["val/loss"]) for job in found.values())
        panels = {
            name: {
                arm: [statistics.fmean(draws) for draws in job.draws["history"][key][:epochs]]
                for arm, job in found.items()
            }
            for name, key in CURVES.items()
        }
        draws = len(next(iter(found.values())).accuracy)
        title = f"{head} head, on images that do not train it: means over {draws} draws of labels"
        figures[f"arms_{head}"] = plots.charts(range(1, epochs + 1), panels, title, "epoch")
    return figures
