"""The tasks that judge the student report: claims by sweeps, and the page that answers it."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from mnist_gen.runs import limits
from mnist_gen.runs.config import plain
from mnist_gen.student_report.answer import Sources, write
from mnist_gen.student_report.claims import judge_sweeps


def claims(cfg: DictConfig) -> None:
    """Judges the student report's claims by sweeps: a table on the screen and in claims.md."""
    folders = [cfg.sweep] if isinstance(cfg.sweep, str) else list(cfg.sweep)
    print(judge_sweeps(folders, cfg.labels, lambda: instantiate(cfg.data).loaded(), cfg.trust))


def answer(cfg: DictConfig) -> None:
    """Answers the student report, section by section: a page for the browser, and one in docs."""
    limits.check(plain(cfg))
    records, docs, outputs = (Path(cfg.answer[part]) for part in ("records", "docs", "outputs"))
    parts = write(Sources(records, docs, outputs), Path(cfg.out))
    for part in parts:
        print(f"{part.title}{': not measured yet, ' + ', '.join(part.missing) if part.missing else ''}")
    print(f"{sum(not part.missing for part in parts)} of {len(parts)} sections are filled: {cfg.out}")
