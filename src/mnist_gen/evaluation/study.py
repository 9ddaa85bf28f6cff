"""The interface of a study, which compares trained models."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from mnist_gen.runs import plots
from mnist_gen.system import files


class Study:
    """Compares trained models: `study(folder, data, scorer, **models)` writes its files and returns metrics.

    Optional: `check(data, models)` refuses data, or configurations of models by part, before any model is trained.
    """

    parts: Sequence[str] = ()  # of the configuration, which name the models

    def publish(self, folder: Path, name: str, text: str, figures: Mapping[str, plots.Figure]) -> None:
        """Prints the text and writes it to `<name>.md`; writes the figures, and both to TensorBoard."""
        files.write(folder / f"{name}.md", text)
        print(text)
        with SummaryWriter(str(folder)) as writer:
            writer.add_text(name, text)
            for title, figure in figures.items():
                plots.save(figure, folder / "figures" / f"{title}.png")
                writer.add_figure(title, figure)
