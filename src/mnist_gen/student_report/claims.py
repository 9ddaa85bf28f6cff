"""All claims of the student report, checked against sweeps: a table and figures."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mnist_gen.data.mnist import ImageData
from mnist_gen.errors import UserError
from mnist_gen.evaluation.verdicts import markdown
from mnist_gen.gan import claim_plots as gan_plots
from mnist_gen.gan import claims as gan_claims
from mnist_gen.runs import plots
from mnist_gen.system import files
from mnist_gen.transfer import claim_plots as transfer_plots
from mnist_gen.transfer import claims as transfer_claims
from mnist_gen.translation import claim_plots as translation_plots
from mnist_gen.translation import claims as translation_claims
from mnist_gen.translation import jobs


def judge_sweeps(
    folders: Sequence[str], labels: int, load_data: Callable[[], ImageData], trusted: Sequence[str] = ()
) -> str:
    """Judges every claim that the sweeps have jobs for; writes claims.md and figures into the first sweep's folder.

    Returns the table, in Markdown. Transfer jobs with another number of labels are ignored; `load_data` loads the test
    images for the figures of translators. Checkpoints may also name classes of `trusted` packages.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"sweep={folder}: no such folder.")
    classifiers, gans, translators = transfer_claims.read(folders, labels), gan_claims.read(folders), jobs.read(folders)
    if not (classifiers or gans or translators):
        what = f"of a transfer experiment with {labels} labels, of a GAN, or of a translation"
        raise UserError(f"sweep={','.join(folders)}: no complete job {what}.")
    verdicts = [*transfer_claims.judge(classifiers), *gan_claims.judge(gans), *translation_claims.judge(translators)]
    table, figures = markdown(verdicts), transfer_plots.pictures(classifiers) | gan_plots.pictures(gans, trusted)
    if translators:
        table = f"{jobs.table(translators)}\n{table}"
        figures |= translation_plots.pictures(translators, load_data(), trusted)
    files.write_now(Path(folders[0]) / "claims.md", table)
    for name, figure in figures.items():
        plots.save(figure, Path(folders[0]) / f"{name}.png")
    return table
