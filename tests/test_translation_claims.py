import json

import pytest

from mnist_gen.claims import FAILS, HOLDS, NOISE
from mnist_gen.claims.translation import judge, read, table

WEIGHTS = {
    "regression": {"sees": "nothing", "l1": 1.0, "cycle": 0.0},
    "GAN-like": {"sees": "outputs", "l1": 0.0, "cycle": 0.0},
    "conditional GAN": {"sees": "pairs", "l1": 10.0, "cycle": 0.0},
    "conditional GAN without L1": {"sees": "pairs", "l1": 0.0, "cycle": 0.0},
    "CycleGAN": {"sees": "outputs", "l1": 0.0, "cycle": 10.0},
}


@pytest.fixture
def leave(tmp_path):
    """Leaves what a job leaves."""

    def write(strategy, pairing, seed, correspondence, pairs=100) -> None:
        folder = tmp_path / f"{strategy}-{pairing}-{pairs}-{seed}"
        folder.mkdir()
        model = {"_target_": "mnist_gen.translation.Translation", "strategy": WEIGHTS[strategy]}
        rendering = {"_target_": "mnist_gen.renderings.Outline", "width": 1}
        data = {"pairing": pairing, "pairs": pairs, "rendering": rendering}
        test = {"fid": 2.0, "correspondence": correspondence, "retrieval": 0.5, "l1": 0.1, "ssim": 0.8}
        metrics = {f"test/{name}": value for name, value in test.items()}
        record = {"config": {"model": model, "data": data, "seed": seed}, "metrics": metrics}
        (folder / "metrics.json").write_text(json.dumps(record))

    return write


@pytest.mark.parametrize("strategy", WEIGHTS)
def test_jobs_are_read(leave, tmp_path, strategy):
    leave(strategy, "loose", 3, 0.7)
    (job,) = read([str(tmp_path)])
    assert (job.strategy, job.pairing, job.pairs, job.rendering, job.seed) == (
        *(strategy, "loose", 100),
        *("outline, width 1", 3),
    )
    assert job.test["correspondence"] == 0.7


def test_the_table_has_means_over_seeds(leave, tmp_path):
    for seed, share in enumerate((0.8, 0.9)):
        leave("CycleGAN", "unpaired", seed, share)
    leave("GAN-like", "paired", 0, 0.1)
    lines = table(read([str(tmp_path)])).splitlines()
    assert lines[2].startswith("| outline, width 1 | GAN-like | paired | 100 | 2.00 | 10.0 % |")
    assert lines[3].startswith("| outline, width 1 | CycleGAN | unpaired | 100 | 2.00 ± 0.00 | 85.0 ± 7.1 % |")


def test_verdicts(leave, tmp_path):
    for seed in range(3):
        for pairing, share in (("paired", 0.3), ("loose", 0.95), ("unpaired", 0.2)):
            leave("GAN-like", pairing, seed, share + 0.01 * seed)
        leave("conditional GAN", "paired", seed, 0.99 - 0.001 * seed)
        leave("conditional GAN", "unpaired", seed, 0.1 + 0.01 * seed)
        leave("conditional GAN", "unpaired", seed, 0.99, pairs=50)  # fewer pairs are not compared
        leave("CycleGAN", "unpaired", seed, 0.95)
        leave("CycleGAN", "paired", seed, 0.95 + 0.02 * (seed - 1))
    verdicts = {v.claim.removeprefix("outline, width 1: "): v for v in judge(read([str(tmp_path)]))}
    assert {claim: v.verdict for claim, v in verdicts.items()} == {
        "a GAN-like network works on paired, loose and unpaired data": FAILS,
        "GAN-like gains from upgrading its data from unpaired to paired": HOLDS,
        "conditional GAN gains from upgrading its data from unpaired to paired": HOLDS,
        "CycleGAN gains from upgrading its data from unpaired to paired": NOISE,
        "a conditional GAN fails on unpaired data": HOLDS,
        "CycleGAN works on unpaired data": HOLDS,
    }
    figures = verdicts["a conditional GAN fails on unpaired data"].figures
    assert figures == "the input's digit is read in 10.0 to 12.0 % of the outputs, 3 runs"
