"""What the student report says of image translation, each sentence held against sweeps over strategies and pairings.

Reads what jobs of `translate_*` experiments left: metrics.json. Jobs that differ in nothing but the seed are one cell;
cells are compared where all but strategy and pairing is equal.
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mnist_gen import tables
from mnist_gen.claims import FAILS, HOLDS, Verdict, apart
from mnist_gen.config import shaping
from mnist_gen.pairs import PAIRINGS

GAN, CYCLE, REGRESSION = "GAN-like", "CycleGAN", "regression"
CONDITIONAL, CONDITIONAL_WITHOUT_L1 = "conditional GAN", "conditional GAN without L1"
STRATEGIES = (GAN, CONDITIONAL, CONDITIONAL_WITHOUT_L1, CYCLE, REGRESSION)
READ = 0.9  # share of outputs in which the input's digit is read, from which translations correspond to their inputs
NEAR = 10  # times the FID of other images of the class, up to which translations look like it
FIGURES = {"fid": "{:.2f}", "correspondence": "{:.1%}", "retrieval": "{:.1%}", "l1": "{:.4f}", "ssim": "{:.3f}"}
DEPENDS = "depends"
RENDERING = "data.rendering."

Cells = Mapping[tuple[str, str], Sequence["Job"]]  # of a strategy and a pairing, a job a seed


@dataclass(frozen=True)
class Job:
    """One translator that was judged: its configuration, test figures, and those of the true counterparts."""

    config: Mapping[str, Any]
    test: Mapping[str, float]
    floor: Mapping[str, float]

    @cached_property
    def setting(self) -> Mapping[str, str]:
        """Keys and values that say what was trained, but for the seed."""
        found = shaping(self.config, ("data", "model", "trainer"))
        return {key: str(value) for key, value in found.items() if key != "data.seed"}

    @property
    def strategy(self) -> str:
        """One of `STRATEGIES`."""
        weights = self.config["model"]["strategy"]
        if weights["cycle"]:
            return CYCLE
        if weights["sees"] == "nothing":
            return REGRESSION
        if weights["sees"] == "outputs":
            return GAN
        return CONDITIONAL if weights["l1"] else CONDITIONAL_WITHOUT_L1

    @property
    def pairing(self) -> str:
        """`paired`, `loose` or `unpaired`."""
        return self.config["data"]["pairing"]

    @property
    def kind(self) -> str:
        """The class of its rendering, such as `outline`."""
        return self.config["data"]["rendering"]["_target_"].rpartition(".")[2].lower()

    @property
    def rendering(self) -> str:
        """Its class and options, such as `outline, width 1`."""
        options = {key: value for key, value in self.config["data"]["rendering"].items() if key != "_target_"}
        return ", ".join([self.kind, *(f"{key} {value}" for key, value in options.items())])

    @property
    def rest(self) -> frozenset[tuple[str, str]]:
        """What else was set."""
        apart_from = ("model.strategy", "data.pairing", "data.rendering")
        return frozenset((key, value) for key, value in self.setting.items() if not key.startswith(apart_from))


def read(folders: Sequence[str]) -> list[Job]:
    """The complete jobs of translators in folders."""
    jobs = []
    for path in sorted(path for folder in folders for path in Path(folder).rglob("metrics.json")):
        record = json.loads(path.read_text())
        if record["config"].get("model", {}).get("_target_") == "mnist_gen.translation.Translation":
            test, floor = (
                {name.removeprefix(group): value for name, value in record["metrics"].items() if name.startswith(group)}
                for group in ("test/", "floor/")
            )
            jobs.append(Job(record["config"], test, floor))
    return sorted(jobs, key=lambda job: (job.rendering, STRATEGIES.index(job.strategy), PAIRINGS.index(job.pairing)))


def table(jobs: Sequence[Job]) -> str:
    """Means and standard deviations over seeds, a row a setting; in the fourth column what else differs."""
    cells: dict[frozenset[tuple[str, str]], list[Job]] = {}
    for job in jobs:
        cells.setdefault(frozenset(job.setting.items()), []).append(job)
    common = frozenset.intersection(*(job.rest for job in jobs))
    rows = []
    for alike in cells.values():
        job = alike[0]
        other = ", ".join(f"{key}={value}" for key, value in sorted(job.rest - common))
        figures = [_spread(alike, name) for name in FIGURES]
        rows.append((job.rendering, job.strategy, job.pairing, other, *figures, str(len(alike))))
    return tables.markdown(("rendering", "strategy", "data", "other", *FIGURES, "seeds"), rows)


def _spread(jobs: Sequence[Job], figure: str) -> str:
    values, form = _values(jobs, figure), FIGURES[figure]
    deviation = f" ± {form.format(statistics.stdev(values))}" if len(values) > 1 else ""
    return form.format(statistics.mean(values)) + deviation


def judge(jobs: Sequence[Job]) -> list[Verdict]:
    """Every claim for which the jobs are there."""
    return [*_of_boards(jobs), *_many_pairs(jobs), *_strength(jobs), *_kinds_of_rendering(jobs)]


def _of_boards(jobs: Sequence[Job]) -> list[Verdict]:
    """Claims on strategies and pairings, rendering by rendering, and setting by setting beside it."""
    boards: dict[tuple[str, frozenset[tuple[str, str]]], dict[tuple[str, str], list[Job]]] = {}
    for job in jobs:
        board = boards.setdefault((job.rendering, job.rest), {})
        board.setdefault((job.strategy, job.pairing), []).append(job)
    return [
        Verdict(f"{rendering}: {verdict.claim}", verdict.verdict, verdict.figures)
        for (rendering, _), cells in boards.items()
        for verdict in (*_works(cells), *_gains(cells), *_worse_with_pairs(cells))
    ]


def _works(cells: Cells) -> Iterator[Verdict]:
    """Where a strategy is said to work or not: its outputs look like the class, and each like its input."""
    on_all = [job for pairing in PAIRINGS for job in cells.get((GAN, pairing), [])]
    if {job.pairing for job in on_all} == set(PAIRINGS):
        yield _working("a GAN-like network works on paired, loose and unpaired data", on_all, expected=True)
    for strategy in (CONDITIONAL, CONDITIONAL_WITHOUT_L1):
        for pairing, expected in (("paired", True), ("unpaired", False)):
            if found := cells.get((strategy, pairing)):
                yield _working(f"a {strategy} {'works' if expected else 'fails'} on {pairing} data", found, expected)
    if found := cells.get((CYCLE, "unpaired")):
        yield _working("CycleGAN works on unpaired data", found, expected=True)


def _working(claim: str, jobs: Sequence[Job], expected: bool) -> Verdict:
    shares, fids = _values(jobs, "correspondence"), [job.test["fid"] / job.floor["fid"] for job in jobs]
    corresponding, real = min(shares) >= READ, max(fids) <= NEAR
    verdict = DEPENDS if corresponding != real else HOLDS if corresponding == expected else FAILS
    figures = (
        f"the input's digit is read in {min(shares):.1%} to {max(shares):.1%} of the outputs, "
        f"FID {min(fids):.1f} to {max(fids):.1f} times that of real images, {len(jobs)} runs"
    )
    return Verdict(claim, verdict, figures)


def _gains(cells: Cells) -> Iterator[Verdict]:
    """What a strategy gains from upgrading its data."""
    for strategy in STRATEGIES:
        paired, unpaired = (cells.get((strategy, pairing), []) for pairing in ("paired", "unpaired"))
        if min(len(paired), len(unpaired)) > 1:
            found = [
                (*apart(_values(paired, "correspondence"), _values(unpaired, "correspondence")), "correspondence"),
                (*apart(_values(paired, "retrieval"), _values(unpaired, "retrieval")), "retrieval"),
                (*apart(_negated(paired, "fid"), _negated(unpaired, "fid"), -1, "FID"), ""),
            ]
            verdicts = {verdict for verdict, _, _ in found}
            yield Verdict(
                f"{strategy} gains from upgrading its data from unpaired to paired",
                verdicts.pop() if len(verdicts) == 1 else DEPENDS,
                "; ".join(f"{text} {figure}".strip() for _, text, figure in found),
            )


def _worse_with_pairs(cells: Cells) -> Iterator[Verdict]:
    unpaired = cells.get((CYCLE, "unpaired"), [])
    for pairing in ("paired", "loose"):
        found = cells.get((CYCLE, pairing), [])
        if min(len(found), len(unpaired)) > 1:
            verdict, text = apart(_values(unpaired, "retrieval"), _values(found, "retrieval"))
            yield Verdict(f"CycleGAN works less well on {pairing} data than on unpaired", verdict, f"{text} retrieval")


def _many_pairs(jobs: Sequence[Job]) -> Iterator[Verdict]:
    """Whether few pairs are too few for a conditional GAN, where many are enough."""
    for job, counts in _along(jobs, "data.pairs"):
        if job.strategy in (CONDITIONAL, CONDITIONAL_WITHOUT_L1) and job.pairing == "paired":
            few, *_, many = (statistics.mean(_values(alike, "correspondence")) for alike in counts.values())
            verdict = DEPENDS if many < READ else HOLDS if few < READ else FAILS
            claim = f"{job.rendering}: a {job.strategy} needs a large set of pairs"
            yield Verdict(claim, verdict, _listed(counts, "pairs"))


def _strength(jobs: Sequence[Job]) -> Iterator[Verdict]:
    """Whether images that are changed more are harder to translate."""
    options = {key for job in jobs for key in job.setting if key.startswith(RENDERING)} - {f"{RENDERING}_target_"}
    for key in sorted(options):
        for job, strengths in _along(jobs, key):
            weakest, *_, strongest = strengths.values()
            if min(len(weakest), len(strongest)) > 1:
                verdict, _ = apart(_values(weakest, "correspondence"), _values(strongest, "correspondence"))
                option = key.removeprefix(RENDERING)
                claim = f"{job.kind}: the larger its {option}, the worse {job.strategy} on {job.pairing} data"
                yield Verdict(claim, verdict, _listed(strengths, f"{option}:"))


def _along(jobs: Sequence[Job], key: str) -> Iterator[tuple[Job, Mapping[float, Sequence[Job]]]]:
    """Jobs that differ in nothing but one number and the seed: one of them, and all by that number, in its order."""
    groups: dict[frozenset[tuple[str, str]], dict[float, list[Job]]] = {}
    for job in jobs:
        if key in job.setting:
            rest = frozenset(item for item in job.setting.items() if item[0] != key)
            groups.setdefault(rest, {}).setdefault(float(job.setting[key]), []).append(job)
    for group in groups.values():
        if len(group) > 1:
            yield next(iter(group.values()))[0], dict(sorted(group.items()))


def _listed(cells: Mapping[float, Sequence[Job]], what: str) -> str:
    shares = (f"{number:g}: {_spread(alike, 'correspondence')}" for number, alike in cells.items())
    return f"the input's digit is read, by {what} {'; '.join(shares)}"


def _kinds_of_rendering(jobs: Sequence[Job]) -> Iterator[Verdict]:
    """What CycleGAN is said to be good at, by how well the true counterpart is met."""
    boards: dict[frozenset[tuple[str, str]], dict[str, list[Job]]] = {}
    for job in jobs:
        if (job.strategy, job.pairing) == (CYCLE, "unpaired"):
            boards.setdefault(job.rest, {}).setdefault(job.kind, []).append(job)
    for kinds in boards.values():
        for good, bad, claim in (
            ("texture", "slant", "CycleGAN translates texture better than geometry"),
            ("texture", "mosaic", "CycleGAN translates one-to-one renderings better than many-to-one"),
        ):
            if min(len(kinds.get(good, [])), len(kinds.get(bad, []))) > 1:
                verdict, _ = apart(_values(kinds[good], "correspondence"), _values(kinds[bad], "correspondence"))
                shares = (f"{kind} {_spread(kinds[kind], 'correspondence')}" for kind in (good, bad))
                yield Verdict(claim, verdict, f"the input's digit is read: {', '.join(shares)}")


def _values(jobs: Sequence[Job], figure: str) -> list[float]:
    return [job.test[figure] for job in jobs]


def _negated(jobs: Sequence[Job], figure: str) -> list[float]:
    return [-value for value in _values(jobs, figure)]
