"""What the student report says of image translation, each sentence held against sweeps over strategies and pairings.

Reads what jobs of `translate_*` experiments left: metrics.json.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_gen import tables
from mnist_gen.claims import FAILS, HOLDS, Verdict, apart
from mnist_gen.pairs import PAIRINGS

GAN, CYCLE, REGRESSION = "GAN-like", "CycleGAN", "regression"
CONDITIONAL, CONDITIONAL_WITHOUT_L1 = "conditional GAN", "conditional GAN without L1"
STRATEGIES = (GAN, CONDITIONAL, CONDITIONAL_WITHOUT_L1, CYCLE, REGRESSION)
READ = 0.9  # share of outputs in which the input's digit is read, from which a translation works
FIGURES = ("fid", "correspondence", "retrieval", "l1", "ssim")
DECIMALS = {"fid": 2, "correspondence": 1, "retrieval": 1, "l1": 4, "ssim": 3}
PERCENT = ("correspondence", "retrieval")


@dataclass(frozen=True)
class Job:
    """One translator that was judged."""

    strategy: str
    pairing: str
    pairs: int
    rendering: str
    seed: int
    test: dict[str, float]


def read(folders: Sequence[str]) -> list[Job]:
    """The complete jobs of translators in folders."""
    jobs = []
    for path in sorted(path for folder in folders for path in Path(folder).rglob("metrics.json")):
        record = json.loads(path.read_text())
        config = record["config"]
        if config.get("model", {}).get("_target_") == "mnist_gen.translation.Translation":
            groups: dict[str, dict[str, float]] = defaultdict(dict)
            for name, value in record["metrics"].items():
                group, _, figure = name.partition("/")
                groups[group][figure] = value
            data = config["data"]
            settings = (_strategy(config["model"]["strategy"]), data["pairing"], data["pairs"])
            jobs.append(Job(*settings, _rendering(data["rendering"]), config["seed"], groups["test"]))
    return jobs


def _rendering(options: dict[str, float | str]) -> str:
    """Its class and options, such as `outline, width 1`."""
    name = str(options["_target_"]).rpartition(".")[2].lower()
    return ", ".join([name, *(f"{key} {value}" for key, value in options.items() if key != "_target_")])


def _strategy(weights: dict[str, float | str]) -> str:
    if weights["cycle"]:
        return CYCLE
    if weights["sees"] == "nothing":
        return REGRESSION
    if weights["sees"] == "outputs":
        return GAN
    return CONDITIONAL if weights["l1"] else CONDITIONAL_WITHOUT_L1


def table(jobs: Sequence[Job]) -> str:
    """Means and standard deviations over seeds, a row a rendering, strategy, pairing and number of pairs."""
    rows = []
    for key, alike in _grouped(jobs).items():
        rendering, strategy, pairing, pairs = key
        figures = [_spread(alike, figure) for figure in FIGURES]
        rows.append((rendering, strategy, pairing, f"{pairs:,}", *figures, str(len(alike))))
    return tables.markdown(("rendering", "strategy", "data", "pairs", *FIGURES, "seeds"), rows)


def _grouped(jobs: Sequence[Job]) -> dict[tuple[str, str, str, int], list[Job]]:
    def order(job: Job) -> tuple[str, int, int, int, int]:
        return (job.rendering, STRATEGIES.index(job.strategy), PAIRINGS.index(job.pairing), job.pairs, job.seed)

    groups: dict[tuple[str, str, str, int], list[Job]] = {}
    for job in sorted(jobs, key=order):
        groups.setdefault((job.rendering, job.strategy, job.pairing, job.pairs), []).append(job)
    return groups


def _spread(jobs: Sequence[Job], figure: str) -> str:
    scale, unit = (100, " %") if figure in PERCENT else (1, "")
    values = [scale * job.test[figure] for job in jobs]
    spread = f" ± {statistics.stdev(values):.{DECIMALS[figure]}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{DECIMALS[figure]}f}{spread}{unit}"


def judge(jobs: Sequence[Job]) -> list[Verdict]:
    """Every claim for which the jobs are there, rendering by rendering."""
    by_rendering: dict[str, dict[tuple[str, str], list[Job]]] = {}
    most = {job.rendering: max(other.pairs for other in jobs if other.rendering == job.rendering) for job in jobs}
    for job in jobs:
        if job.pairs == most[job.rendering]:
            by_rendering.setdefault(job.rendering, {}).setdefault((job.strategy, job.pairing), []).append(job)
    return [verdict for name, cells in by_rendering.items() for verdict in _of_rendering(name, cells)]


def _of_rendering(name: str, cells: dict[tuple[str, str], list[Job]]) -> Iterator[Verdict]:
    gan = [job for pairing in PAIRINGS for job in cells.get((GAN, pairing), [])]
    if gan:
        yield _works_on_all(name, gan)
    for strategy in STRATEGIES:
        paired, unpaired = cells.get((strategy, "paired"), []), cells.get((strategy, "unpaired"), [])
        if min(len(paired), len(unpaired)) > 1:
            found = {figure: apart(_values(paired, figure), _values(unpaired, figure)) for figure in PERCENT}
            yield Verdict(
                f"{name}: {strategy} gains from upgrading its data from unpaired to paired",
                found["correspondence"][0],
                "; ".join(f"{text} of {figure}" for figure, (_, text) in found.items()),
            )
    yield from _works(f"{name}: a conditional GAN fails on unpaired data", cells.get((CONDITIONAL, "unpaired")), False)
    yield from _works(f"{name}: CycleGAN works on unpaired data", cells.get((CYCLE, "unpaired")), True)


def _works_on_all(name: str, jobs: Sequence[Job]) -> Verdict:
    """Realism and correspondence part ways, so the claim may depend on which is meant."""
    values, fids = _values(jobs, "correspondence"), _values(jobs, "fid")
    works = min(values) >= READ
    text = f"FID {min(fids):.2f} to {max(fids):.2f}; the input's digit is read in {_range(values)}"
    return Verdict(
        f"{name}: a GAN-like network works on paired, loose and unpaired data", HOLDS if works else FAILS, text
    )


def _works(claim: str, jobs: Sequence[Job] | None, expected: bool) -> Iterator[Verdict]:
    if jobs:
        values = _values(jobs, "correspondence")
        works = statistics.mean(values) >= READ
        text = f"the input's digit is read in {_range(values)}"
        yield Verdict(claim, HOLDS if works == expected else FAILS, text)


def _values(jobs: Sequence[Job], figure: str) -> list[float]:
    return [job.test[figure] for job in jobs]


def _range(values: Sequence[float]) -> str:
    return f"{100 * min(values):.1f} to {100 * max(values):.1f} % of the outputs, {len(values)} runs"
