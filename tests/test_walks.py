"""Walks between digits: how they go, how they are judged, and the run that answers the report's question."""

import json
from types import SimpleNamespace

import pytest
import torch

from mnist_gen import fidelity
from mnist_gen.claims import FAILS, HOLDS
from mnist_gen.claims import interpolation as claims
from mnist_gen.errors import UserError
from mnist_gen.studies import interpolation as study
from mnist_gen.studies.interpolation import Interpolation
from mnist_gen.walks import (
    Findings,
    Judgement,
    Known,
    Reference,
    Walker,
    among,
    by_label,
    judge,
    linear,
    separability,
    spherical,
)  # fmt: skip
from tests.conftest import TINY, error_line, train_py
from tests.test_autoencoder import FEW as QUICK
from tests.test_gan import gan

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
    scorer = fidelity.load_scorer(None, "MNIST")
    images = raw[:200].float().div(255).unsqueeze(1)
    images = torch.nn.functional.pad(images, (2, 2, 2, 2))
    reference = Reference(raw[:200], fidelity.read(scorer, images)[0])
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
    assert found.midpoint_fid > found.start_fid > 0  # blends lie further from real images than these themselves


def test_points_that_tell_their_digits():
    digits = torch.arange(500) % 10
    apart = torch.nn.functional.one_hot(digits, 10) + 0.01 * torch.randn(500, 10)
    assert all(hits.all() and len(hits) == 100 for hits in separability(apart, digits, seed=0).values())
    assert all(hits.float().mean() < 0.4 for hits in separability(torch.randn(500, 10), digits, seed=0).values())


def test_points_in_an_order_are_shuffled_before_they_are_split():
    digits = torch.arange(500) // 50  # the last fifth shows digits that the others never do
    points = torch.nn.functional.one_hot(digits, 10) + 0.01 * torch.randn(500, 10)
    assert all(hits.all() for hits in separability(points, digits, seed=0).values())


def findings(coded: float, drawn: float, fid: float, arc: float = 3.0) -> Findings:
    """Walks that are legible between their ends to a share, and equal in all else but the FID of their middles."""

    def walk(share: float, midpoint_fid: float) -> Judgement:
        legible = torch.ones(3, 100)
        legible[1, int(100 * share) :] = 0
        names = ("third_digit", "inside", "density", "entropy", "nearest", "confidence")
        along = {"legible": legible, **{name: torch.rand(3, 100) for name in names}}
        return Judgement(along, {"detour": torch.ones(100), "jump": torch.ones(100)}, 1.0, midpoint_fid)

    walks = {"autoencoder, linear": walk(coded, fid), "GAN, linear": walk(drawn, 2.0), "GAN, spherical": walk(1.0, arc)}
    walks["cGAN, label to label"] = walk(0.7, 5.0)
    separated = {
        name: {reader: torch.rand(50) < p for reader in ("knn", "linear")}
        for name, p in (("autoencoder", 0.95), ("GAN", 0.5))
    }
    novelty = {"autoencoder": torch.rand(100), "GAN": torch.rand(100) + 3, "real images": torch.full((100,), 2.0)}
    return Findings(walks, 0.5, separated, novelty, {"autoencoder": 0.9, "GAN": 1.0})


def verdicts(found: Findings) -> dict[str, str]:
    return {verdict.claim: verdict.verdict for verdict in claims.judge(found)}


def test_the_claims_follow_the_figures():
    found = verdicts(findings(coded=0.4, drawn=0.98, fid=7.0))
    assert found["the autoencoder's middle is a shape that is no digit"] == HOLDS
    assert found["every image of the GAN between two digits is some digit"] == HOLDS
    assert found["the autoencoder's space separates digits better (linear probe)"] == HOLDS
    assert found["the GAN's images are further from training images (creative)"] == HOLDS
    found = verdicts(findings(coded=0.6, drawn=0.9, fid=7.0))
    assert found["the autoencoder's middle is a shape that is no digit"] == FAILS  # most are digits
    assert found["every image of the GAN between two digits is some digit"] == FAILS


def test_novelty_stands_beside_that_of_real_images():
    (creative,) = (verdict for verdict in claims.judge(findings(0.4, 0.98, 7.0)) if "creative" in verdict.claim)
    assert "real images 2.00" in creative.figures


def test_the_answer_follows_the_figures():
    found = findings(coded=0.5, drawn=0.98, fid=7.0)
    text = claims.answer(found, claims.judge(found))
    assert "GAN, linear lies nearer to real images than autoencoder, linear: FID of the middles 2.00 against" in text
    assert "between two of them it blends" in text
    assert "of one latent, the middles have an FID of 5.00, and 70% are legible" in text
    assert "does no harm here (FID 3.00 on arcs, 2.00 on straight lines)" in text
    found = findings(coded=1.0, drawn=0.6, fid=1.0, arc=1.5)
    text = claims.answer(found, claims.judge(found))
    assert "autoencoder, linear lies nearer to real images than GAN, spherical" in text
    assert "between two of them it blends" not in text
    assert "straight lines cut it short (FID 1.50 on arcs, 2.00 on straight lines)" in text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"pairs": 1}, "study.pairs=1: must be at least 2"),
        ({"steps": 10}, "study.steps=10: must be odd and at least 3"),
        ({"digits": [[1, 1]]}, r"study.digits: \[1, 1\] must be two different digits from 0 to 9"),
        ({"digits": [[1, 12]]}, r"study.digits: \[1, 12\] must be two different"),
        ({"digits": [1, 0]}, "study.digits: 1 must be two different"),
        ({"digits": [[1, 0, 1]]}, r"study.digits: \[1, 0, 1\] must be two different"),
    ],
)
def test_impossible_walks(option, message):
    with pytest.raises(UserError, match=message):
        Interpolation(**{"pairs": 10, "steps": 11, "digits": [[1, 0]], "seed": 0, **option})


def test_an_impossible_run_is_one_line(tmp_path):
    words = ["experiment=interpolation", "study.digits=[[3,3]]", f"hydra.run.dir={tmp_path}/run"]
    line = error_line(train_py(*words, cwd=tmp_path))
    assert line == (
        "error: study.digits: [3, 3] must be two different digits from 0 to 9, in a list of such pairs, [[1,0]]."
    )


def test_a_gan_that_was_told_groups_is_not_walked(tmp_path):
    told = SimpleNamespace(clusters=object())
    with pytest.raises(UserError, match="told groups of alike images: choose one made by experiment=gan_plain"):
        Interpolation(12, 3, [[1, 0]], 0)(tmp_path, None, None, None, told, None)


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
    assert text.count("| holds |") + text.count("| fails |") + text.count("| noise |") == 7
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
        ("scorer=nowhere.safetensors", "nowhere.safetensors: no such file"),
    ],
)
def test_mistakes_show_before_any_model_is_trained(interpolation, tmp_path, word, message):
    kept = [f"{part}.folder={tmp_path / 'kept'}" for part in ("autoencoder", "gan", "cgan")]
    with pytest.raises(UserError, match=message):
        interpolation(tmp_path / "run", word, *kept, quickly=False)
    assert not (tmp_path / "kept").exists()
