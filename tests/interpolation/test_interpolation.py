"""Walks between digits: how they go, how they are judged, and the run that answers the report's question."""

import json

import pytest
import torch
from hydra.errors import InstantiationException

from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.scorer import load_scorer
from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS
from mnist_gen.interpolation import Interpolation, claims, study
from mnist_gen.interpolation.measurements import Findings, Judgement, Reference, judge, separability
from mnist_gen.interpolation.paths import Known, Walker, among, by_label, linear, spherical
from mnist_gen.runs.config import one_line
from tests.autoencoder.conftest import TINY_RUN as QUICK
from tests.conftest import TINY
from tests.gan.conftest import gan

SHARES = torch.linspace(0, 1, 5)


def test_straight_lines():
    start, end = torch.randn(3, 4), torch.randn(3, 4)
    points = linear(start, end, SHARES)
    assert points.shape == (5, 3, 4)
    assert torch.allclose(points[1], 0.75 * start + 0.25 * end)


def test_arcs_keep_the_length_and_the_pace():
    start, end = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    points = spherical(start, end, SHARES)
    assert torch.allclose(points[0], start, atol=1e-5)
    assert torch.allclose(points[-1], end, atol=1e-5)
    assert torch.allclose(points.norm(dim=2), torch.tensor([2.0, 3.0]).expand(5, 2), atol=1e-5)
    steps = (points[1:] - points[:-1]).norm(dim=2)
    assert torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-5)


def test_ends_show_the_digits_asked_for():
    points = torch.arange(40.0)[:, None]  # point p shows the digit p % 10
    choose = among(points, torch.arange(40) % 10, "the GAN")
    first, second = torch.tensor([3, 3, 3, 7]), torch.tensor([0, 1, 2, 9])
    start, end = choose(first, second, torch.Generator().manual_seed(0))
    assert (start[:, 0] % 10).tolist() == first.tolist()
    assert (end[:, 0] % 10).tolist() == second.tolist()
    assert len(set(start[:3, 0].tolist())) > 1
    with pytest.raises(UserError, match="the GAN shows no 9 in 9 images"):
        among(points[:9], torch.arange(9), "the GAN")(first, second, torch.Generator())


def test_a_walk_from_label_to_label_keeps_the_latent():
    for overrides in ((), ("model.concat=after",), ("model.label=onehot",)):
        model = gan(*overrides)
        choose, paint = by_label(model)
        walk = Walker(choose, linear, paint).walk(torch.tensor([3]), torch.tensor([8]), 3, seed=0)
        latent = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
        for end, digit in ((walk[0], 3), (walk[-1], 8)):
            assert torch.allclose(end, model.generate(latent, torch.tensor([digit])), atol=1e-6)


def test_walks_are_judged(real):
    raw, labels = real["test"]
    scorer = load_scorer(None, "MNIST")
    images = raw[:200].float().div(255).unsqueeze(1)
    images = torch.nn.functional.pad(images, (2, 2, 2, 2))
    reference = Reference(raw[:200], fidelity.read(scorer, images)[0], neighbours=5)
    first, second = labels[:20], labels[20:40]
    walks = linear(images[:20].flatten(1), images[20:40].flatten(1), torch.linspace(0, 1, 3)).unflatten(2, (1, 32, 32))
    found = judge(scorer, walks, first, second, reference)
    assert found.along["nearest"].shape == (3, 20)
    assert found.ends("nearest").max() < 0.01  # the ends are in the reference
    assert found.middle("nearest").min() > 1
    assert found.ends("inside").eq(1).all()
    assert found.ends("legible").mean() > 0.9
    assert found.along["entropy"][1].mean() > found.along["entropy"][0].mean()
    assert torch.allclose(found.ways["detour"], torch.ones(20), atol=1e-4)  # images themselves were blended
    assert torch.allclose(found.ways["jump"], torch.ones(20), atol=1e-4)
    assert found.middle("sharpness").mean() < found.ends("sharpness").mean()  # blends are soft
    assert len(found.midpoint_fids) == 5
    assert found.midpoint_fid > found.start_fid > 0  # blends lie further from real images than these themselves


def test_points_that_tell_their_digits():
    digits = torch.arange(500) % 10
    apart = torch.nn.functional.one_hot(digits, 10) + 0.01 * torch.randn(500, 10)
    assert all(hits.all() and len(hits) == 100 for hits in separability(apart, digits, neighbours=5, seed=0).values())
    assert all(
        hits.float().mean() < 0.4 for hits in separability(torch.randn(500, 10), digits, neighbours=5, seed=0).values()
    )


def test_points_in_an_order_are_shuffled_before_they_are_split():
    digits = torch.arange(500) // 50  # the last fifth shows digits that the others never do
    points = torch.nn.functional.one_hot(digits, 10) + 0.01 * torch.randn(500, 10)
    assert all(hits.all() for hits in separability(points, digits, neighbours=5, seed=0).values())


def walk(fid: float, **shares: tuple[float, float, float]) -> Judgement:
    """A hundred walks in three steps: shares of them that are legible, ... in each step."""
    names = ("legible", "third_digit", "inside", "density", "entropy", "nearest", "confidence", "sharpness")
    along = {name: torch.full((3, 100), 0.5) for name in names}
    for name, by_step in shares.items():
        along[name] = torch.stack([(torch.arange(100) < 100 * share).float() for share in by_step])
    fids = [fid + 0.01 * part for part in range(5)]
    return Judgement(along, {"detour": torch.ones(100), "jump": torch.ones(100)}, 1.0, fid, fids)


def findings(**changes) -> Findings:
    """The autoencoder blends, the GAN makes digits, blurred ones that are none of the ends' now and then."""
    walks = {
        "autoencoder, linear": walk(7.0, legible=(1.0, 0.4, 1.0), third_digit=(0.0, 0.1, 0.0), sharpness=(1, 1, 1)),
        "GAN, linear": walk(2.0, legible=(0.8, 0.98, 0.8), third_digit=(0.0, 0.3, 0.0), sharpness=(0.5, 0.5, 0.5)),
        "GAN, spherical": walk(3.0),
        "cGAN, label to label": walk(5.0, legible=(1.0, 0.7, 1.0)),
    } | changes.pop("walks", {})
    hits = {
        name: {reader: torch.arange(50) < 50 * share for reader in ("knn", "linear")}
        for name, share in (("autoencoder", 0.95), ("GAN", 0.5))
    }
    settings = {
        "walks": walks,
        "chosen": {
            "autoencoder, linear": {(1, 0): torch.arange(100) < 30},
            "GAN, linear": {(7, 1): torch.arange(100) < 60},
        },
        "floor": {"FID": 0.5, "sharpness": 0.7},
        "separated": hits,
        "novelty": {
            "autoencoder": torch.rand(100),
            "GAN": torch.rand(80) + 3,
            "real images": torch.full((90,), 2.0),
        },
        "diversity": {"autoencoder": 0.9, "GAN": 1.0},
    }
    return Findings(**{**settings, **changes})


def verdicts(found: Findings) -> dict[str, str]:
    return {verdict.claim: verdict.verdict for verdict in claims.judge(found)}


def test_the_claims_follow_the_figures():
    found = findings()
    assert set(verdicts(found).values()) == {HOLDS}
    assert len(verdicts(found)) == 10
    mirrored = {  # the autoencoder's figures are the GAN's, and the other way round
        "autoencoder, linear": found.walks["GAN, linear"],
        "GAN, linear": found.walks["autoencoder, linear"],
    }
    turned = findings(
        walks=mirrored,
        chosen={
            "autoencoder, linear": {(1, 0): torch.arange(100) < 60},
            "GAN, linear": {(7, 1): torch.arange(100) < 99},
        },
        separated={"autoencoder": found.separated["GAN"], "GAN": found.separated["autoencoder"]},
        novelty={**found.novelty, "GAN": found.novelty["autoencoder"], "autoencoder": found.novelty["GAN"]},
    )
    assert set(verdicts(turned).values()) == {FAILS}


def test_claims_on_pairs_of_digits_take_these_pairs():
    found = findings(chosen={"autoencoder, linear": {(3, 8): torch.ones(9)}, "GAN, linear": {(3, 8): torch.ones(9)}})
    assert len(verdicts(found)) == 8
    assert not any("1 to 0" in claim or "7 and 1" in claim for claim in verdicts(found))


def test_what_is_all_alike_is_not_creative():
    found = findings(diversity={"autoencoder": 0.9, "GAN": 0.3})
    (creative,) = (verdict for verdict in claims.judge(found) if "creative" in verdict.claim)
    assert creative.verdict == DEPENDS
    assert "real images 2.00" in creative.figures


def test_what_shows_no_digit_is_not_compared_in_novelty():
    found = findings(novelty={"autoencoder": torch.rand(9), "real images": torch.rand(9)})
    assert len(verdicts(found)) == 9
    assert not any("creative" in claim for claim in verdicts(found))


def test_the_answer_follows_the_figures():
    found = findings()
    text = claims.answer(found, claims.judge(found))
    assert "GAN, linear lies nearer to real images than autoencoder, linear: FID of the middles 2.00 against" in text
    assert "between two of them it blends" in text
    assert "of one latent, the middles have an FID of 5.00, and 70% are legible" in text
    assert "does no harm: they are better (FID 3.00 on arcs, 2.00 on straight lines)" in text
    found = findings(walks={"autoencoder, linear": walk(1.0), "GAN, spherical": walk(1.5)})
    text = claims.answer(found, claims.judge(found))
    assert "autoencoder, linear lies nearer to real images than GAN, spherical" in text
    assert "between two of them it blends" not in text
    assert "are better (FID 1.50 on arcs, 2.00 on straight lines)" in text
    found = findings(walks={"GAN, spherical": walk(2.0)})
    text = claims.answer(found, claims.judge(found))
    assert "between arcs and straight lines is within the noise (FID 2.00 on arcs" in text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"pairs": 9}, "study.pairs=9: must be at least 10"),
        ({"neighbours": 0}, "study.neighbours=0: must be at least 1"),
        ({"steps": 10}, "study.steps=10: must be odd and at least 3"),
        ({"digits": [[1, 1]]}, r"study.digits: \[1, 1\] must be two different digits from 0 to 9"),
        ({"digits": [[1, 12]]}, r"study.digits: \[1, 12\] must be two different"),
        ({"digits": [1, 0]}, "study.digits: 1 must be two different"),
        ({"digits": [[1.0, 0]]}, r"study.digits: \[1.0, 0\] must be two different"),
        ({"digits": [[[1], 0]]}, r"study.digits: \[\[1\], 0\] must be two different"),
        ({"digits": [[1, 0, 1]]}, r"study.digits: \[1, 0, 1\] must be two different"),
    ],
)
def test_impossible_walks(option, message):
    with pytest.raises(UserError, match=message):
        Interpolation(**{"pairs": 10, "steps": 11, "digits": [[1, 0]], "neighbours": 5, "seed": 0, **option})


def test_an_impossible_study_is_one_line(fit, tmp_path):
    with pytest.raises(InstantiationException) as error:
        fit(tmp_path, "experiment=interpolation", "study.digits=[[3,3]]", task="study", tiny=False)
    assert one_line(error.value) == (
        "study.digits: [3, 3] must be two different digits from 0 to 9, in a list of such pairs, [[1,0]]."
    )


@pytest.fixture
def interpolation(fit, tmp_path):
    """`interpolation(folder, *words)` runs the study with tiny models, kept in `kept`."""
    few = [*TINY, "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    quick = {"autoencoder": QUICK, "gan": few, "cgan": few}
    words = [f'{part}.overrides=["' + '","'.join(overrides) + '"]' for part, overrides in quick.items()]
    words += [f"{part}.folder={tmp_path / 'kept'}" for part in quick]
    words += ["study.pairs=12", "study.steps=3", "study.digits=[[1,0],[7,3]]"]

    def run(folder, *more, quickly=True):
        folder.mkdir(exist_ok=True)
        fit(folder, "experiment=interpolation", *(words if quickly else ()), *more, tiny=False, task="study")

    return run


def all_digits(model, count, scorer, seed):
    """As `walks.drawn`, of a GAN that shows every digit."""
    latents = model.latents(count, torch.Generator().manual_seed(seed))
    return Known(latents, model.generate(latents), torch.arange(count) % 10)


def test_what_a_run_leaves(interpolation, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "drawn", all_digits)
    folder = tmp_path / "run"
    interpolation(folder)
    assert len(list((tmp_path / "kept").iterdir())) == 3
    names = {"beside.png", "along.png", "1_to_0.png", "7_to_3.png"}
    assert {path.name for path in (folder / "figures").iterdir()} == names
    text = (folder / "answer.md").read_text()
    assert text.count("| holds |") + text.count("| fails |") + text.count("| noise |") + text.count("| depends |") == 9
    found = json.loads((folder / "metrics.json").read_text())["metrics"]
    for name in (
        "autoencoder, linear",
        "autoencoder, spherical",
        "GAN, linear",
        "GAN, spherical",
        "cGAN, label to label",
    ):
        assert f"| {name} |" in text
        assert {
            f"{name}/{figure}" for figure in ("start_fid", "midpoint_fid", "legible_middle", "inside_ends")
        } <= found.keys()
    assert {"GAN/separability_knn", "autoencoder/novelty", "GAN/diversity", "floor/midpoint_fid"} <= found.keys()
    assert found["real images/novelty"] > 0

    kept = next((tmp_path / "kept").glob("gan_plain-*/checkpoints/best.ckpt"))
    monkeypatch.chdir(kept.parents[1])
    interpolation(tmp_path / "named", "gan.ckpt=checkpoints/best.ckpt")
    before = (tmp_path / "named/metrics.json").stat().st_mtime_ns
    interpolation(tmp_path / "named", "gan.ckpt=checkpoints/best.ckpt")  # complete: left alone
    assert (tmp_path / "named/metrics.json").stat().st_mtime_ns == before


def test_a_gan_that_shows_few_digits_is_named(interpolation, tmp_path):
    with pytest.raises(UserError, match="the GAN shows no"):
        interpolation(tmp_path / "run")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gan.experiment=scorer", "is a Classifier, not a GAN without labels: name one made by experiment=gan_plain."),
        ("gan.ckpt=nowhere.ckpt", "ckpt=nowhere.ckpt: no such file"),
        ("gan.experiment=cgan_embed20", "is a GAN with labels, not a GAN without labels: name one made by"),
        ("cgan.experiment=gan", "is a GAN without labels, not a GAN with labels: name one made by"),
        ("autoencoder.experiment=interpolation", "is no model, not an Autoencoder: name one made by"),
        ("gan.experiment=gan", "it was told groups of alike images: choose one made by experiment=gan_plain"),
        ("study.neighbours=1000", "study.neighbours=1000: must be less than the .* test images"),
        ("scorer=nowhere.safetensors", "nowhere.safetensors: no such file"),
    ],
)
def test_mistakes_show_before_any_model_is_trained(interpolation, tmp_path, word, message):
    kept = [f"{part}.folder={tmp_path / 'kept'}" for part in ("autoencoder", "gan", "cgan")]
    with pytest.raises(UserError, match=message):
        interpolation(tmp_path / "run", word, *kept, quickly=False)
    assert not (tmp_path / "kept").exists()
