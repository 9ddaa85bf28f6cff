"""What the student report says of image translation, each sentence held against sweeps over strategies and pairings.

Cells are compared where all is equal but the pairing, the strategy, and what is each strategy's own recipe.
"""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence

from mnist_gen.data.mnist import NUM_CLASSES
from mnist_gen.data.pairs import PAIRINGS
from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS, Verdict, apart, together
from mnist_gen.translation.jobs import (
    CONDITIONAL,
    CONDITIONAL_WITHOUT_L1,
    CYCLE,
    GAN,
    REGRESSION,
    STRATEGIES,
    Cells,
    Job,
    Setting,
    boards,
    spread,
    values,
)

READ = 0.9  # share of outputs in which the input's digit is read, from which translations correspond to their inputs
NEAR = 10  # times the FID of other images of the class, up to which translations look like it
RENDERING = "data.rendering."
STRENGTHS = ("depth", "degrees", "shear", "width", "block")  # options of renderings that change the more, the larger
ON_PAR = 2  # times the FID of a conditional GAN on pairs up to which images are as real
MANY_DIGITS = 5  # that mostly become another digit by another seed, from which it is up to the seed what they become
GOOD_AT = {  # kinds of renderings, the first of which CycleGAN is said to translate better
    ("texture", "slant"): "CycleGAN translates texture better than geometry",
    ("texture", "mosaic"): "CycleGAN translates one-to-one renderings better than many-to-one",
}
DEARER = 1.2  # times the L1 of regression that more realism may cost


def judge(jobs: Sequence[Job]) -> list[Verdict]:
    """Every claim for which the jobs are there."""
    return [*_of_boards(jobs), *_many_pairs(jobs), *_strength(jobs), *_kinds_of_rendering(jobs)]


def _of_boards(jobs: Sequence[Job]) -> list[Verdict]:
    """Claims on strategies and pairings."""
    return [
        Verdict(f"{name}: {verdict.claim}", verdict.verdict, verdict.figures)
        for name, cells in boards(jobs).items()
        for verdict in (*_works(cells), *_up_to_the_seed(cells), *_real(cells), *_gains(cells), *_with_pairs(cells))
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
    """It works if each run reads right and looks right, it fails if each does neither."""
    shares, fids = values(jobs, "correspondence"), [job.test["fid"] / job.floor["fid"] for job in jobs]
    works, fails = all(map(_works_well, jobs)), not any(_reads_right(job) or _looks_right(job) for job in jobs)
    verdict = HOLDS if (works, fails) == (expected, not expected) else FAILS if works or fails else DEPENDS
    figures = f"{_read_in(shares)}, FID {min(fids):.1f} to {max(fids):.1f} times that of real images"
    return Verdict(claim, verdict, figures)


def _reads_right(job: Job) -> bool:
    return job.test["correspondence"] >= READ


def _looks_right(job: Job) -> bool:
    return job.test["fid"] <= NEAR * job.floor["fid"]


def _works_well(job: Job) -> bool:
    return _reads_right(job) and _looks_right(job)


def _read_in(shares: Sequence[float]) -> str:
    return f"the input's digit is read in {min(shares):.1%} to {max(shares):.1%} of the outputs of {len(shares)} runs"


def _up_to_the_seed(cells: Cells) -> Iterator[Verdict]:
    """Of infinitely many maps between the classes a discriminator of outputs asks for none in particular."""
    for pairing in PAIRINGS:
        found = cells.get((GAN, pairing), [])
        become = {digit: values(found, f"becomes_{digit}") for digit in range(NUM_CLASSES)}
        if all(len(seeds) > 1 for seeds in become.values()):
            other = [
                f"{digit} becomes {', '.join(f'{read:.0f}' for read in seeds)}"
                for digit, seeds in become.items()
                if len(set(seeds)) > 1
            ]
            yield Verdict(
                f"which digit a GAN-like network makes of another is up to the seed, on {pairing} data",
                HOLDS if len(other) >= MANY_DIGITS else DEPENDS if other else FAILS,
                "; ".join([_read_in(values(found, "correspondence")), *other]),
            )


def _real(cells: Cells) -> Iterator[Verdict]:
    """What realism a discriminator brings."""
    conditional, regression = cells.get((CONDITIONAL, "paired"), []), cells.get((REGRESSION, "paired"), [])
    for pairing in PAIRINGS:
        found = cells.get((GAN, pairing), [])
        if min(len(found), len(conditional)) > 1:
            usual = statistics.mean(values(conditional, "fid"))
            times = [fid / usual for fid in values(found, "fid")]
            on_par = [time <= ON_PAR for time in times]
            yield Verdict(
                f"a GAN-like network's images on {pairing} data are as real as a conditional GAN's on pairs",
                HOLDS if all(on_par) else DEPENDS if any(on_par) else FAILS,
                f"{min(times):.1f} to {max(times):.1f} times its FID",
            )
    if min(len(conditional), len(regression)) > 1:
        verdict, text = apart(_negated(conditional, "fid"), _negated(regression, "fid"), -1, "FID")
        dearer = statistics.mean(values(conditional, "l1")) / statistics.mean(values(regression, "l1"))
        claim = f"a conditional GAN makes more real images than regression, at no more than {DEARER} times its L1"
        yield Verdict(claim, verdict if dearer <= DEARER else FAILS, f"{text}, {dearer:.2f} times the L1")


def _gains(cells: Cells) -> Iterator[Verdict]:
    """What a strategy gains from upgrading its data."""
    for strategy in STRATEGIES:
        paired, unpaired = (cells.get((strategy, pairing), []) for pairing in ("paired", "unpaired"))
        if min(len(paired), len(unpaired)) > 1:
            found = [
                (*apart(values(paired, "correspondence"), values(unpaired, "correspondence")), "correspondence"),
                (*apart(values(paired, "retrieval"), values(unpaired, "retrieval")), "retrieval"),
                (*apart(_negated(paired, "fid"), _negated(unpaired, "fid"), -1, "FID"), ""),
            ]
            yield Verdict(
                f"{strategy} gains from upgrading its data from unpaired to paired",
                together(verdict for verdict, _, _ in found),
                "; ".join(f"{text} {figure}".strip() for _, text, figure in found),
            )


def _with_pairs(cells: Cells) -> Iterator[Verdict]:
    """What is said of CycleGAN where there are pairs."""
    unpaired = cells.get((CYCLE, "unpaired"), [])
    for pairing in ("paired", "loose"):
        found = cells.get((CYCLE, pairing), [])
        if min(len(found), len(unpaired)) > 1:
            better = [
                (*apart(values(unpaired, figure), values(found, figure)), figure)
                for figure in ("correspondence", "retrieval")
                if values(unpaired, figure)  # another set knows no retrieval
            ]
            yield Verdict(
                f"CycleGAN works less well on {pairing} data than on unpaired",
                together(verdict for verdict, _, _ in better),
                "; ".join(f"{text} {figure}" for _, text, figure in better),
            )


def _many_pairs(jobs: Sequence[Job]) -> Iterator[Verdict]:
    """Whether few pairs are too few for a conditional GAN, where many are enough."""
    for job, counts in _along(jobs, "data.pairs"):
        if job.strategy in (CONDITIONAL, CONDITIONAL_WITHOUT_L1) and job.pairing == "paired":
            enough = [n for n, alike in counts.items() if all(map(_works_well, alike))]
            few, *_, many = counts
            verdict = FAILS if few in enough else HOLDS if enough == [many] else DEPENDS
            claim = f"{job.rendering}: a {job.strategy} needs a large set of pairs"
            fids = ", ".join(f"{n:g}: {spread(alike, 'fid')}" for n, alike in counts.items())
            yield Verdict(claim, verdict, f"{_listed(counts, 'pairs')}; FID {fids}")


def _strength(jobs: Sequence[Job]) -> Iterator[Verdict]:
    """Whether the images that are changed most are harder to translate than those that are changed least."""
    for option in STRENGTHS:
        for job, strengths in _along(jobs, f"{RENDERING}{option}"):
            weakest, *_, strongest = strengths.values()
            if min(len(weakest), len(strongest)) > 1:
                verdict, _ = _more_of_what_can_be("correspondence", weakest, strongest)
                claim = f"{job.kind}: the larger its {option}, the worse {job.strategy} on {job.pairing} data"
                yield Verdict(claim, verdict, _listed(strengths, f"{option}:"))


def _along(jobs: Sequence[Job], key: str) -> Iterator[tuple[Job, Mapping[float, Sequence[Job]]]]:
    """Jobs that differ in nothing but one number and the seed: one of them, and all by that number, in its size."""
    groups: dict[Setting, dict[float, list[Job]]] = {}
    for job in jobs:
        if key in job.setting:
            rest = frozenset(item for item in job.setting.items() if item[0] != key)
            groups.setdefault(rest, {}).setdefault(float(job.setting[key]), []).append(job)
    for group in groups.values():
        if len(group) > 1:
            yield next(iter(group.values()))[0], dict(sorted(group.items(), key=lambda item: abs(item[0])))


def _listed(cells: Mapping[float, Sequence[Job]], what: str) -> str:
    shares = (f"{number:g}: {spread(alike, 'correspondence')}" for number, alike in cells.items())
    return f"the input's digit is read, by {what} {'; '.join(shares)}"


def _kinds_of_rendering(jobs: Sequence[Job]) -> Iterator[Verdict]:
    """What CycleGAN is said to be good at: which digits are read and which counterparts found, of those that can be."""
    settings: dict[Setting, dict[str, list[Job]]] = {}
    for job in jobs:
        if (job.strategy, job.pairing) == (CYCLE, "unpaired"):
            settings.setdefault(job.rest, {}).setdefault(job.rendering, []).append(job)
    for renderings in settings.values():
        for (good, well), (bad, badly) in itertools.product(renderings.items(), repeat=2):
            claim = GOOD_AT.get((well[0].kind, badly[0].kind))
            if claim is not None and min(len(well), len(badly)) > 1:
                found = [_more_of_what_can_be(figure, well, badly) for figure in ("correspondence", "retrieval")]
                figures = "; ".join(text for _, text in found)
                yield Verdict(f"{claim} ({good}; {bad})", together(verdict for verdict, _ in found), figures)


def _more_of_what_can_be(figure: str, left: Sequence[Job], right: Sequence[Job]) -> tuple[str, str]:
    verdict, text = apart(_of_what_can_be(left, figure), _of_what_can_be(right, figure))
    shares = " and ".join(spread(alike, figure) for alike in (left, right))
    return verdict, f"{figure} {shares}, of what can be {text}"


def _of_what_can_be(jobs: Sequence[Job], figure: str) -> list[float]:
    """A share, by that of true counterparts."""
    return [job.test[figure] / job.floor[figure] for job in jobs]


def _negated(jobs: Sequence[Job], figure: str) -> list[float]:
    return [-value for value in values(jobs, figure)]
