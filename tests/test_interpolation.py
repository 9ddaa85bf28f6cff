"""Walks between digits: how they go, how they are judged, and the run that answers the report's question."""

import pytest
import torch

from mnist_gen import fidelity, studies
from mnist_gen.claims import FAILS, HOLDS
from mnist_gen.claims import interpolation as claims
from mnist_gen.errors import UserError
from mnist_gen.interpolation import Findings, Judgement, Reference, among, judge, linear, separability, spherical
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
    from mnist_gen.interpolation import Space, by_label

    for overrides in ((), ("model.concat=after",), ("model.label=onehot",)):
        model = gan(*overrides)
        choose, paint = by_label(model)
        walk = Space(choose, linear, paint).walk(torch.tensor([3]), torch.tensor([8]), 3, seed=0)
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
    assert found.midpoint_fid > 0


def test_points_that_tell_their_digits():
    digits = torch.arange(500) % 10
    apart = torch.nn.functional.one_hot(digits, 10) + 0.01 * torch.randn(500, 10)
    assert all(hits.all() and len(hits) == 100 for hits in separability(apart, digits).values())
    assert all(hits.float().mean() < 0.4 for hits in separability(torch.randn(500, 10), digits).values())


def findings(coded: float, drawn: float, fid: float) -> Findings:
    """Walks whose middles are legible to a share, and equal in all else but the FID of the autoencoder's middles."""

    def walk(share: float, midpoint_fid: float) -> Judgement:
        legible = torch.ones(3, 100)
        legible[1, int(100 * share) :] = 0
        names = ("third_digit", "inside", "density", "entropy", "nearest", "confidence")
        along = {"legible": legible, **{name: torch.rand(3, 100) for name in names}}
        return Judgement(along, {"detour": torch.ones(100), "jump": torch.ones(100)}, midpoint_fid)

    walks = {"autoencoder, linear": walk(coded, fid), "GAN, linear": walk(drawn, 2.0)}
    separated = {name: {reader: torch.rand(50) < p for reader in ("knn", "linear")} for name, p in
                 (("autoencoder", 0.95), ("GAN", 0.5))}  # fmt: skip
    return Findings(walks, 0.5, separated, {"autoencoder": torch.rand(100), "GAN": torch.rand(100) + 3})


def test_the_answer_follows_the_figures():
    found = findings(coded=0.5, drawn=0.98, fid=7.0)
    verdicts = {verdict.claim: verdict.verdict for verdict in claims.judge(found)}
    assert verdicts["the autoencoder's middle is a shape that is no digit"] == HOLDS
    assert verdicts["every image of the GAN between two digits is some digit"] == HOLDS
    assert verdicts["the autoencoder's space separates digits better (linear probe)"] == HOLDS
    assert verdicts["the GAN's images are further from training images (creative)"] == HOLDS
    text = claims.answer(found, claims.judge(found))
    assert (
        "(GAN, linear) lies nearer to real images than (autoencoder, linear): FID of the middles 2.00 against" in text
    )
    found = findings(coded=1.0, drawn=0.6, fid=1.0)
    assert "(autoencoder, linear) lies nearer" in claims.answer(found, claims.judge(found))
    assert {v.claim: v.verdict for v in claims.judge(found)}[
        "every image of the GAN between two digits is some digit"
    ] == FAILS


@pytest.mark.parametrize(
    ("pairs", "steps", "digits", "message"),
    [
        (1, 11, [(1, 0)], "pairs=1: must be at least 2"),
        (10, 10, [(1, 0)], "steps=10: must be odd and at least 3"),
        (10, 11, [(1, 1)], r"digits: \[1, 1\] must be two different digits from 0 to 9"),
        (10, 11, [(1, 12)], r"digits: \[1, 12\] must be two different"),
        (10, 11, [(1,)], r"digits: \[1\] must be two different"),
    ],
)
def test_impossible_walks(pairs, steps, digits, message):
    with pytest.raises(UserError, match=message):
        studies.check_walks(pairs, steps, digits)


def test_gans_of_the_wrong_kind_are_refused():
    conditional, plain = gan(), gan(experiment="gan")
    with pytest.raises(UserError, match="gan was trained with labels: name one made by experiment=gan"):
        studies.check_unconditional(conditional)
    with pytest.raises(UserError, match="cgan was trained without labels: name one made by experiment=cgan_embed20"):
        studies.check_conditional(plain)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits=[[3,3]]"], "error: digits: [3, 3] must be two different digits from 0 to 9."),
        (["gan.ckpt=nowhere.ckpt"], "error: ckpt=nowhere.ckpt: no such file."),
        (["gan.experiment=scorer"], "is a Classifier, not a GAN: name one made by experiment=cgan_embed20."),
    ],
)
def test_impossible_runs_are_one_line(tmp_path, words, message):
    line = error_line(train_py("experiment=interpolation", *words, f"hydra.run.dir={tmp_path}/run", cwd=tmp_path))
    assert message in line


def test_what_a_run_leaves(fit, tmp_path, real):
    few = "'" + "','".join([*(word for word in TINY if "callbacks" not in word), "trainer.max_epochs=1"]) + "'"
    quick = ["'" + "','".join(QUICK) + "'", few, few]
    words = [f"{part}.overrides=[{w}]" for part, w in zip(("autoencoder", "gan", "cgan"), quick, strict=True)]
    kept = [f"{part}.folder={tmp_path / 'kept'}" for part in ("autoencoder", "gan", "cgan")]
    folder = tmp_path / "run"
    folder.mkdir()
    options = ["pairs=6", "steps=3", "digits=[[1,0]]", *words, *kept]
    with pytest.raises(UserError, match="the GAN shows no"):  # a GAN trained so little shows few digits
        fit(folder, "experiment=interpolation", *options, tiny=False, task="interpolate")
    assert len(list((tmp_path / "kept").iterdir())) == 3
