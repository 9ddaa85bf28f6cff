"""The student report's claims about image translation, on handmade jobs."""

import json

import pytest

from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS, NOISE
from mnist_gen.translation.claims import judge
from mnist_gen.translation.jobs import read, table

WEIGHTS = {
    "regression": {"sees": "nothing", "l1": 1.0, "cycle": 0.0},
    "GAN-like": {"sees": "outputs", "l1": 0.0, "cycle": 0.0},
    "conditional GAN": {"sees": "pairs", "l1": 10.0, "cycle": 0.0},
    "conditional GAN without L1": {"sees": "pairs", "l1": 0.0, "cycle": 0.0},
    "CycleGAN": {"sees": "outputs", "l1": 0.0, "cycle": 10.0},
}
OUTLINE = {"_target_": "mnist_gen.data.renderings.Outline", "width": 1}


@pytest.fixture
def leave(tmp_path):
    """`leave(strategy, pairing, seed, correspondence)` writes the metrics.json of a job."""

    def write(
        strategy,
        pairing,
        seed,
        correspondence,
        pairs=100,
        rendering=OUTLINE,
        deform=0.0,
        folder="",
        floor=1.0,
        becomes=range(10),
        **metrics,
    ) -> None:
        name = f"{strategy}-{pairing}-{pairs}-{deform}-{seed}-{'-'.join(map(str, rendering.values()))}"
        folder = tmp_path / folder / name
        folder.mkdir(parents=True)
        recipe = {"r1": 0.1 if strategy == "GAN-like" else 0.5}  # each strategy's own, which does not split a cell
        model = {"_target_": "mnist_gen.translation.Translation", "strategy": WEIGHTS[strategy], **recipe}
        data = {"pairing": pairing, "pairs": pairs, "rendering": rendering, "deform": deform, "seed": seed}
        test = {"fid": 2.0, "correspondence": correspondence, "retrieval": 0.5, "l1": 0.1, "ssim": 0.8} | metrics
        test |= {f"becomes_{digit}": float(read) for digit, read in enumerate(becomes)}
        metrics = {f"test/{name}": value for name, value in test.items()} | {
            "floor/fid": 0.5,
            "floor/correspondence": floor,
            "floor/retrieval": 1.0,
        }
        record = {"config": {"model": model, "data": data, "seed": seed}, "metrics": metrics}
        (folder / "metrics.json").write_text(json.dumps(record))

    return write


@pytest.mark.parametrize("strategy", WEIGHTS)
def test_jobs_are_read(leave, tmp_path, strategy):
    leave(strategy, "loose", 3, 0.7)
    (job,) = read([str(tmp_path)])
    assert (job.strategy, job.pairing, job.rendering) == (strategy, "loose", "outline, width 1")
    assert job.metrics["test/correspondence"] == 0.7
    assert job.of_floor("fid") == 4
    assert "data.seed" not in job.setting


def test_the_table_has_means_over_seeds_and_names_other_differences(leave, tmp_path):
    for seed, share in enumerate((0.8, 0.9)):
        leave("CycleGAN", "unpaired", seed, share)
    leave("GAN-like", "paired", 0, 0.1)
    leave("GAN-like", "paired", 1, 0.3, pairs=50)
    head, _, *rows = table(read([str(tmp_path)])).splitlines()
    assert head == "| rendering | strategy | data | fid | correspondence | retrieval | l1 | ssim | seeds |"
    assert {row.split(" ± ")[0] for row in rows} == {
        "| outline, width 1; data.pairs=100 | GAN-like | paired | 2.000 | 10.0% | 50.0% | 0.1000 | 0.800 | 1 |",
        "| outline, width 1; data.pairs=50 | GAN-like | paired | 2.000 | 30.0% | 50.0% | 0.1000 | 0.800 | 1 |",
        "| outline, width 1; data.pairs=100 | CycleGAN | unpaired | 2.000",
    }
    (means,) = (row for row in rows if "CycleGAN" in row)
    assert "| 2.000 ± 0.000 | 85.0% ± 7.1% | 50.0% ± 0.0% |" in means


def verdicts(folder) -> dict[str, str]:
    return {v.claim.removeprefix("outline, width 1: "): v.verdict for v in judge(read([str(folder)]))}


def test_verdicts(leave, tmp_path):
    for seed in range(3):
        wobble = 0.01 * seed
        for pairing, share in (("paired", 0.3), ("loose", 0.95), ("unpaired", 0.2)):
            leave("GAN-like", pairing, seed, share + wobble)
        leave("conditional GAN", "paired", seed, 0.99 - wobble, retrieval=0.9 - wobble, fid=1 + wobble)
        leave("conditional GAN", "unpaired", seed, 0.1 + wobble, retrieval=0.1 + wobble, fid=20 + wobble)
        leave("CycleGAN", "unpaired", seed, 0.95, retrieval=0.8 + wobble)
        leave("CycleGAN", "paired", seed, 0.95 + wobble, retrieval=0.6 + wobble)
    which = "which digit a GAN-like network makes of another is up to the seed, on"
    real = "a GAN-like network's images on"
    assert verdicts(tmp_path) == {
        "a GAN-like network works on paired, loose and unpaired data": DEPENDS,  # realistic, without correspondence
        "a conditional GAN works on paired data": HOLDS,
        "a conditional GAN fails on unpaired data": HOLDS,
        "CycleGAN works on unpaired data": HOLDS,
        "GAN-like gains from upgrading its data from unpaired to paired": DEPENDS,  # correspondence only
        "conditional GAN gains from upgrading its data from unpaired to paired": HOLDS,
        "CycleGAN gains from upgrading its data from unpaired to paired": DEPENDS,
        "CycleGAN works less well on paired data than on unpaired": DEPENDS,  # by retrieval, but not by correspondence
        **{f"{which} {pairing} data": FAILS for pairing in ("paired", "loose", "unpaired")},
        **{f"{real} {pairing} data are as real as a conditional GAN's on pairs": HOLDS
           for pairing in ("paired", "loose", "unpaired")},
    }  # fmt: skip


def test_failing_claims_and_noise(leave, tmp_path):
    for seed in range(2):
        leave("CycleGAN", "unpaired", seed, 0.5, fid=50.0, retrieval=0.5 + 0.1 * seed)
        leave("CycleGAN", "loose", seed, 0.5, retrieval=0.6 - 0.1 * seed)
        leave("conditional GAN without L1", "unpaired", seed, 0.99)
    assert verdicts(tmp_path) == {
        "a conditional GAN without L1 fails on unpaired data": FAILS,
        "CycleGAN works on unpaired data": FAILS,
        "CycleGAN works less well on loose data than on unpaired": NOISE,
    }


def test_evidence_on_seeds_and_realism(leave, tmp_path):
    for seed in range(3):
        becomes = [0, 1, 2, 3 if seed else 8, 4, 5, 6, 7, 8, seed]
        leave("GAN-like", "unpaired", seed, 0.3 * seed, fid=2.0 + 0.1 * seed, becomes=becomes)
        leave("conditional GAN", "paired", seed, 0.99, fid=2.1 + 0.1 * seed, l1=0.11)
        leave("regression", "paired", seed, 0.99, fid=4.0 + 0.1 * seed, l1=0.1)
    found = {v.claim.partition(": ")[2]: (v.verdict, v.evidence) for v in judge(read([str(tmp_path)]))}
    claim = "which digit a GAN-like network makes of another is up to the seed, on unpaired data"
    assert found[claim] == (
        DEPENDS,
        "the input's digit is read in 0.0% to 60.0% of the outputs of 3 runs (real images: 100.0%); "
        "3 becomes 8, 3, 3; 9 becomes 0, 1, 2",
    )
    claim = "a GAN-like network's images on unpaired data are as real as a conditional GAN's on pairs"
    assert found[claim] == (HOLDS, "0.9 to 1.0 times its FID")
    claim = "a conditional GAN makes more real images than regression, at no more than 1.2 times its L1"
    assert found[claim] == (HOLDS, "-1.90 ± 0.08 FID, 1.10 times the L1")


@pytest.mark.parametrize(
    ("becomes", "verdict"), [(range(10), FAILS), ([*range(1, 5), *range(4, 10)], DEPENDS), (range(1, 11), HOLDS)]
)
def test_the_seed_decides_if_many_digits_differ(leave, tmp_path, becomes, verdict):
    leave("GAN-like", "unpaired", 0, 0.5)
    leave("GAN-like", "unpaired", 1, 0.5, becomes=becomes)
    claim = "which digit a GAN-like network makes of another is up to the seed, on unpaired data"
    assert verdicts(tmp_path) == {claim: verdict}
    for seed in range(2):
        leave("GAN-like", "unpaired", seed, 0.5, becomes=(), folder="older")
    assert judge(read([str(tmp_path / "older")])) == []


def test_realism_does_not_count_if_l1_is_too_large(leave, tmp_path):
    for seed in range(2):
        leave("conditional GAN", "paired", seed, 0.99, fid=2.1 + 0.1 * seed, l1=0.13)
        leave("regression", "paired", seed, 0.99, fid=4.0 + 0.1 * seed, l1=0.1)
    (found,) = (v for v in judge(read([str(tmp_path)])) if "than regression" in v.claim)
    assert (found.verdict, found.evidence) == (FAILS, "-1.90 ± 0.07 FID, 1.30 times the L1")


@pytest.mark.parametrize(("fids", "verdict"), [((2, 3), HOLDS), ((2, 5), DEPENDS), ((5, 6), FAILS)])
def test_images_are_as_real_up_to_a_factor_in_fid(leave, tmp_path, fids, verdict):
    for seed, fid in enumerate(fids):
        leave("GAN-like", "loose", seed, 0.5, fid=float(fid))
        leave("conditional GAN", "paired", seed, 0.99, fid=2.0)
    assert verdicts(tmp_path)[
        "a GAN-like network's images on loose data are as real as a conditional GAN's on pairs"
    ] == (verdict)


def test_claims_name_settings_that_vary(leave, tmp_path):
    leave("conditional GAN", "paired", 0, 0.99)
    leave("conditional GAN", "unpaired", 0, 0.2, pairs=50)
    assert [v.claim for v in judge(read([str(tmp_path)]))] == [
        "outline, width 1; data.pairs=100: a conditional GAN works on paired data",
        "outline, width 1; data.pairs=50: a conditional GAN fails on unpaired data",
    ]


def test_deformed_pairs_count_as_loose(leave, tmp_path):
    for deform in (0.0, 1.0):
        leave("conditional GAN", "paired", 0, 0.99, deform=deform)
    jobs = read([str(tmp_path)])
    assert [job.pairing for job in jobs] == ["paired", "loose"]
    names = [row.split(" | ")[0] for row in table(jobs).splitlines()[2:]]
    assert names == ["| outline, width 1; data.deform=0.0", "| outline, width 1; data.deform=1.0"]


def test_claims_separate_loss_weights_of_a_strategy(leave, tmp_path, monkeypatch):
    for weight in (1.0, 10.0):
        monkeypatch.setitem(WEIGHTS["conditional GAN"], "l1", weight)
        leave("conditional GAN", "paired", 0, 0.9, folder=str(weight))
    leave("GAN-like", "unpaired", 0, 0.9)
    assert [v.claim.partition(":")[0] for v in judge(read([str(tmp_path)]))] == [
        "outline, width 1; model.strategy.l1=1.0",
        "outline, width 1; model.strategy.l1=10.0",
    ]


def test_repeated_jobs_count_once(leave, tmp_path):
    for folder in ("one", "again"):
        leave("CycleGAN", "unpaired", 0, 0.9, folder=folder)
    leave("CycleGAN", "unpaired", 1, 0.9)
    assert [job.seed for job in read([str(tmp_path)])] == [0, 1]


@pytest.mark.parametrize(("worst", "verdict"), [(0.9, HOLDS), (0.2, DEPENDS)])
def test_a_strategy_works_if_every_run_does(leave, tmp_path, worst, verdict):
    for seed, share in enumerate((0.99, 0.99, worst)):
        leave("CycleGAN", "unpaired", seed, share, fid=1.0 if share > 0.5 else 50.0)
    assert verdicts(tmp_path) == {"CycleGAN works on unpaired data": verdict}


def test_a_strategy_is_judged_beside_real_images_of_the_target_class(leave, tmp_path):
    for seed in range(2):
        leave("CycleGAN", "unpaired", seed, 0.72, floor=0.75)
    (found,) = [v for v in judge(read([str(tmp_path)])) if "CycleGAN works on unpaired" in v.claim]
    assert found.verdict == HOLDS
    assert "read in 72.0% of the outputs of 2 runs (real images: 75.0%)" in found.evidence


def test_another_data_set_is_judged_by_correspondence(tmp_path):
    model = {"_target_": "mnist_gen.translation.Translation", "strategy": WEIGHTS["CycleGAN"]}
    for pairing, share in (("loose", 0.2), ("unpaired", 0.9)):
        for seed in range(2):
            data = {"pairing": pairing, "pairs": 100, "other": "FashionMNIST", "seed": seed}
            metrics = {"test/fid": 2.0, "test/correspondence": share + 0.01 * seed, "floor/fid": 0.5}
            metrics["floor/correspondence"] = 1.0
            folder = tmp_path / f"{pairing}-{seed}"
            folder.mkdir()
            record = {"config": {"model": model, "data": data, "seed": seed}, "metrics": metrics}
            (folder / "metrics.json").write_text(json.dumps(record))
    found = {v.claim: v.verdict for v in judge(read([str(tmp_path)]))}
    assert found["FashionMNIST: CycleGAN works less well on loose data than on unpaired"] == HOLDS


def test_only_equal_settings_are_compared(leave, tmp_path):
    for seed in range(2):
        leave("regression", "paired", seed, 0.9, pairs=50)
        leave("regression", "unpaired", seed, 0.1, pairs=100)
    assert verdicts(tmp_path) == {}


@pytest.mark.parametrize(("few", "many", "verdict"), [(0.5, 0.95, HOLDS), (0.95, 0.99, FAILS), (0.2, 0.5, DEPENDS)])
def test_whether_a_conditional_gan_needs_many_pairs(leave, tmp_path, few, many, verdict):
    for pairs, share in ((1000, many), (50, few), (200, 0.7)):
        leave("conditional GAN", "paired", 0, share, pairs=pairs)
    (found,) = (v for v in judge(read([str(tmp_path)])) if "large set" in v.claim)
    assert (found.claim, found.verdict) == ("outline, width 1: a conditional GAN needs a large set of pairs", verdict)
    correspondence = f"correspondence by pairs: 50: {few:.1%}; 200: 70.0%; 1000: {many:.1%}"
    assert found.evidence == f"{correspondence}; FID 50: 2.000, 200: 2.000, 1000: 2.000"


def test_few_pairs_are_not_enough_if_outputs_are_not_realistic(leave, tmp_path):
    for pairs, fid in ((50, 9.0), (1000, 2.0)):
        leave("conditional GAN", "paired", 0, 0.99, pairs=pairs, fid=fid)
    (found,) = (v for v in judge(read([str(tmp_path)])) if "large set" in v.claim)
    assert found.verdict == HOLDS


def test_whether_stronger_renderings_are_harder(leave, tmp_path):
    for seed in range(2):
        for width, share in ((1, 0.9), (2, 0.8), (10, 0.5)):
            leave("CycleGAN", "unpaired", seed, share + 0.01 * seed, rendering=OUTLINE | {"width": width})
    (found,) = (v for v in judge(read([str(tmp_path)])) if "the larger" in v.claim)
    claim = "outline: the larger its width, the worse CycleGAN on unpaired data"
    assert (found.claim, found.verdict) == (claim, HOLDS)
    assert "width: 1: 90.5% ± 0.7%; 2: 80.5% ± 0.7%; 10: 50.5% ± 0.7%" in found.evidence


def test_kinds_of_rendering_for_cyclegan(leave, tmp_path):
    for seed in range(2):
        for kind, share, found in (("Texture", 0.9, 0.8), ("Slant", 0.2, 0.1), ("Mosaic", 0.95, 0.5)):
            rendering = {"_target_": f"mnist_gen.data.renderings.{kind}"}
            leave("CycleGAN", "unpaired", seed, share + 0.01 * seed, rendering=rendering, retrieval=found + 0.01 * seed)
    verdicts = {v.claim: (v.verdict, v.evidence) for v in judge(read([str(tmp_path)])) if "translates" in v.claim}
    assert verdicts == {
        "CycleGAN translates texture better than geometry (texture; slant)": (
            HOLDS,
            "correspondence 90.5% ± 0.7% and 20.5% ± 0.7%, relative to the real-data floor +70.0 ± 0.7 points; "
            "retrieval 80.5% ± 0.7% and 10.5% ± 0.7%, relative to the real-data floor +70.0 ± 0.7 points",
        ),
        "CycleGAN translates one-to-one renderings better than many-to-one (texture; mosaic)": (
            DEPENDS,
            "correspondence 90.5% ± 0.7% and 95.5% ± 0.7%, relative to the real-data floor -5.0 ± 0.7 points; "
            "retrieval 80.5% ± 0.7% and 50.5% ± 0.7%, relative to the real-data floor +30.0 ± 0.7 points",
        ),
    }


def test_strength_is_judged_relative_to_the_real_data_floor(leave, tmp_path):
    for seed in range(2):
        for width, share in ((1, 0.9), (2, 0.6)):
            leave("CycleGAN", "unpaired", seed, share + 0.01 * seed, rendering=OUTLINE | {"width": width}, floor=share)
    (found,) = (v for v in judge(read([str(tmp_path)])) if "the larger" in v.claim)
    assert found.verdict == NOISE
