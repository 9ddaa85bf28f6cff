"""What the student report claims about image translation, checked against sweeps over strategies and pairings.

Compared jobs differ only in pairing, strategy and each strategy's own recipe.
"""

import itertools
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import replace

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.pairs import PAIRINGS
from mnist_gen.evaluation.verdicts import (
    DEPENDS,
    FAILS,
    HOLDS,
    Difference,
    Verdict,
    all_or_none,
    joint,
    span,
    unpaired_difference,
)
from mnist_gen.translation.jobs import (
    CONDITIONAL,
    CONDITIONAL_WITHOUT_L1,
    CYCLE,
    GAN,
    REGRESSION,
    STRATEGIES,
    Cells,
    Jobs,
    Setting,
    TranslationJob,
    cells_by_rendering,
    mean_and_deviation,
    values_of,
)

CORRESPONDING = 0.9  # least share of outputs with the input's digit, relative to real images of the target class
REALISTIC = 10  # times the real-data floor's FID, up to which outputs look like their class
STRENGTHS = ("depth", "degrees", "shear", "width", "block")  # options of renderings; larger values change more
ON_PAR = 2  # times a conditional GAN's FID on pairs, up to which images are as real
MANY_DIGITS = 5  # least number of digits whose translation depends on the seed, for that claim to hold
EASIER = {  # (kind of rendering, kind that CycleGAN is said to translate less well)
    ("texture", "slant"): "CycleGAN translates texture better than geometry",
    ("texture", "mosaic"): "CycleGAN translates one-to-one renderings better than many-to-one",
}
L1_LIMIT = 1.2  # times regression's L1, up to which more realism counts as a gain


def judge(jobs: Jobs) -> list[Verdict]:
    """Verdicts on every claim that the jobs can answer."""
    of_cells = [
        replace(verdict, claim=f"{name}: {verdict.claim}")
        for name, cells in cells_by_rendering(jobs).items()
        for claims in (_works, _depends_on_the_seed, _realism, _gains_from_pairs, _cyclegan_with_pairs)
        for verdict in claims(cells)
    ]
    return [*of_cells, *_needs_many_pairs(jobs), *_strength(jobs), *_kinds_of_rendering(jobs)]


def _works(cells: Cells) -> Iterator[Verdict]:
    """Which strategy works on which data: outputs look like their class and correspond to their inputs."""
    all_pairings = [job for pairing in PAIRINGS for job in cells.get((GAN, pairing), [])]
    if {job.pairing for job in all_pairings} == set(PAIRINGS):
        yield _works_or_fails("a GAN-like network works on paired, loose and unpaired data", all_pairings, works=True)
    for strategy in (CONDITIONAL, CONDITIONAL_WITHOUT_L1):
        for pairing, works in (("paired", True), ("unpaired", False)):
            if jobs := cells.get((strategy, pairing)):
                yield _works_or_fails(f"a {strategy} {'works' if works else 'fails'} on {pairing} data", jobs, works)
    if jobs := cells.get((CYCLE, "unpaired")):
        yield _works_or_fails("CycleGAN works on unpaired data", jobs, works=True)


def _works_or_fails(claim: str, jobs: Jobs, works: bool) -> Verdict:
    """A strategy works if every job corresponds and looks real; it fails if every job does neither."""
    all_work, all_fail = all(map(_is_good, jobs)), not any(_corresponds(job) or _looks_real(job) for job in jobs)
    verdict = HOLDS if (all_work if works else all_fail) else FAILS if all_work or all_fail else DEPENDS
    fids = [job.of_floor("fid") for job in jobs]
    return Verdict(claim, verdict, f"{_digits_read(jobs)}, FID {span(fids, '.1f')} times that of real images")


def _corresponds(job: TranslationJob) -> bool:
    return job.of_floor("correspondence") >= CORRESPONDING


def _looks_real(job: TranslationJob) -> bool:
    return job.of_floor("fid") <= REALISTIC


def _is_good(job: TranslationJob) -> bool:
    return _corresponds(job) and _looks_real(job)


def _digits_read(jobs: Jobs) -> str:
    shares, floors = values_of(jobs, "correspondence"), [job.metrics["floor/correspondence"] for job in jobs]
    read = f"the input's digit is read in {span(shares, '.1%')} of the outputs of {len(shares)} runs"
    return f"{read} (real images: {span(floors, '.1%')})"


def _depends_on_the_seed(cells: Cells) -> Iterator[Verdict]:
    """Whether the seed decides between the many maps from class to class that satisfy a discriminator of outputs."""
    for pairing in PAIRINGS:
        jobs = cells.get((GAN, pairing), [])
        digits_by_seed = {digit: values_of(jobs, f"becomes_{digit}") for digit in range(NUM_CLASSES)}
        if all(len(digits) > 1 for digits in digits_by_seed.values()):
            changing = [
                f"{digit} becomes {', '.join(f'{value:.0f}' for value in digits)}"
                for digit, digits in digits_by_seed.items()
                if len(set(digits)) > 1
            ]
            yield Verdict(
                f"which digit a GAN-like network makes of another is up to the seed, on {pairing} data",
                HOLDS if len(changing) >= MANY_DIGITS else DEPENDS if changing else FAILS,
                "; ".join([_digits_read(jobs), *changing]),
            )


def _realism(cells: Cells) -> Iterator[Verdict]:
    conditional, regression = (cells.get((strategy, "paired"), []) for strategy in (CONDITIONAL, REGRESSION))
    for pairing in PAIRINGS:
        jobs = cells.get((GAN, pairing), [])
        if min(len(jobs), len(conditional)) > 1:
            reference = statistics.mean(values_of(conditional, "fid"))
            ratios = [fid / reference for fid in values_of(jobs, "fid")]
            yield Verdict(
                f"a GAN-like network's images on {pairing} data are as real as a conditional GAN's on pairs",
                all_or_none([ratio <= ON_PAR for ratio in ratios]),
                f"{span(ratios, '.1f')} times its FID",
            )
    if min(len(conditional), len(regression)) > 1:
        verdict, text = _fid_difference(conditional, regression)
        ratio = statistics.mean(values_of(conditional, "l1")) / statistics.mean(values_of(regression, "l1"))
        claim = f"a conditional GAN makes more real images than regression, at no more than {L1_LIMIT} times its L1"
        yield Verdict(claim, verdict if ratio <= L1_LIMIT else FAILS, f"{text}, {ratio:.2f} times the L1")


def _gains_from_pairs(cells: Cells) -> Iterator[Verdict]:
    for strategy in STRATEGIES:
        paired, unpaired = (cells.get((strategy, pairing), []) for pairing in ("paired", "unpaired"))
        if min(len(paired), len(unpaired)) > 1:
            claim = f"{strategy} gains from upgrading its data from unpaired to paired"
            differences = [_difference(metric, paired, unpaired) for metric in ("correspondence", "retrieval")]
            yield joint(claim, [*differences, _fid_difference(paired, unpaired)])


def _cyclegan_with_pairs(cells: Cells) -> Iterator[Verdict]:
    unpaired = cells.get((CYCLE, "unpaired"), [])
    for pairing in ("paired", "loose"):
        jobs = cells.get((CYCLE, pairing), [])
        if min(len(jobs), len(unpaired)) > 1:
            metrics = [name for name in ("correspondence", "retrieval") if values_of(unpaired, name)]
            claim = f"CycleGAN works less well on {pairing} data than on unpaired"
            yield joint(claim, [_difference(metric, unpaired, jobs) for metric in metrics])


def _difference(metric: str, left: Jobs, right: Jobs) -> Difference:
    verdict, text = unpaired_difference(values_of(left, metric), values_of(right, metric))
    return verdict, f"{text} {metric}"


def _fid_difference(left: Jobs, right: Jobs) -> Difference:
    """Whether the left jobs have the lower FID."""
    ours, others = ([-value for value in values_of(jobs, "fid")] for jobs in (left, right))
    return unpaired_difference(ours, others, -1, "FID")


def _needs_many_pairs(jobs: Jobs) -> Iterator[Verdict]:
    for job, by_count in _varied_along("data.pairs", jobs):
        if job.strategy in (CONDITIONAL, CONDITIONAL_WITHOUT_L1) and job.pairing == "paired":
            enough = [count for count, cell in by_count.items() if all(map(_is_good, cell))]
            fewest, *_, most = by_count
            verdict = FAILS if fewest in enough else HOLDS if enough == [most] else DEPENDS
            claim = f"{job.rendering}: a {job.strategy} needs a large set of pairs"
            fids = ", ".join(f"{count:g}: {mean_and_deviation(cell, 'fid')}" for count, cell in by_count.items())
            yield Verdict(claim, verdict, f"{_correspondence_by('pairs', by_count)}; FID {fids}")


def _strength(jobs: Jobs) -> Iterator[Verdict]:
    for option in STRENGTHS:
        for job, by_strength in _varied_along(f"data.rendering.{option}", jobs):
            weakest, *_, strongest = by_strength.values()
            if min(len(weakest), len(strongest)) > 1:
                verdict, _ = _difference_relative_to_floor("correspondence", weakest, strongest)
                claim = f"{job.kind}: the larger its {option}, the worse {job.strategy} on {job.pairing} data"
                yield Verdict(claim, verdict, _correspondence_by(option, by_strength))


def _varied_along(key: str, jobs: Jobs) -> Iterator[tuple[TranslationJob, Mapping[float, Jobs]]]:
    """Groups of jobs that differ only in one number and the seed: the first job, and the jobs by that number."""
    groups: dict[Setting, dict[float, list[TranslationJob]]] = {}
    for job in jobs:
        if key in job.setting:
            rest = frozenset(item for item in job.setting.items() if item[0] != key)
            groups.setdefault(rest, {}).setdefault(float(job.setting[key]), []).append(job)
    for group in groups.values():
        if len(group) > 1:
            yield next(iter(group.values()))[0], dict(sorted(group.items(), key=lambda item: abs(item[0])))


def _correspondence_by(name: str, cells: Mapping[float, Jobs]) -> str:
    shares = (f"{number:g}: {mean_and_deviation(cell, 'correspondence')}" for number, cell in cells.items())
    return f"correspondence by {name}: {'; '.join(shares)}"


def _kinds_of_rendering(jobs: Jobs) -> Iterator[Verdict]:
    """Which of two kinds of rendering CycleGAN translates better, relative to their real-data floors."""
    settings: dict[Setting, dict[str, list[TranslationJob]]] = {}
    for job in jobs:
        if (job.strategy, job.pairing) == (CYCLE, "unpaired"):
            settings.setdefault(job.other_settings, {}).setdefault(job.rendering, []).append(job)
    for renderings in settings.values():
        for (easy, left), (hard, right) in itertools.permutations(renderings.items(), 2):
            claim = EASIER.get((left[0].kind, right[0].kind))
            if claim is not None and min(len(left), len(right)) > 1:
                metrics = ("correspondence", "retrieval")
                differences = [_difference_relative_to_floor(metric, left, right) for metric in metrics]
                yield joint(f"{claim} ({easy}; {hard})", differences)


def _difference_relative_to_floor(metric: str, left: Jobs, right: Jobs) -> Difference:
    ours, others = ([job.of_floor(metric) for job in jobs] for jobs in (left, right))
    verdict, text = unpaired_difference(ours, others)
    values = " and ".join(mean_and_deviation(jobs, metric) for jobs in (left, right))
    return verdict, f"{metric} {values}, relative to the real-data floor {text}"
