"""Paths between digits: their shape, their metrics, and the study that answers the student report's question."""

import pytest
import torch
from hydra.errors import InstantiationException

from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.scorer import load_scorer
from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS
from mnist_gen.interpolation import Interpolation, claims
from mnist_gen.interpolation.measurements import PathMetrics, Reference, measure_paths, separability
from mnist_gen.interpolation.paths import all_digits, between_labels, endpoints_among, linear, spherical
from mnist_gen.runs.config import one_line
from tests.autoencoder.conftest import TINY_RUN as QUICK
from tests.conftest import TINY, recorded
from tests.gan.conftest import gan

SHARES = torch.linspace(0, 1, 5)


def test_straight_lines():
    start, end = torch.randn(3, 4), torch.randn(3, 4)
    latents = linear(start, end, SHARES)
    assert latents.shape == (5, 3, 4)
    assert torch.allclose(latents[1], 0.75 * start + 0.25 * end, atol=1e-6)


def test_arcs_keep_length_and_speed():
    start, end = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    latents = spherical(start, end, SHARES)
    assert torch.allclose(latents[0], start, atol=1e-5)
    assert torch.allclose(latents[-1], end, atol=1e-5)
    assert torch.allclose(latents.norm(dim=2), torch.tensor([2.0, 3.0]).expand(5, 2), atol=1e-5)
    steps = (latents[1:] - latents[:-1]).norm(dim=2)
    assert torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-5)


def test_endpoints_show_the_requested_digits():
    latents = torch.arange(40.0)[:, None]  # latent z shows the digit z % 10
    choose = endpoints_among(latents, torch.arange(40) % 10, "the GAN")
    first, second = torch.tensor([3, 3, 3, 7]), torch.tensor([0, 1, 2, 9])
    start, end = choose(first, second, torch.Generator().manual_seed(0))
    assert (start[:, 0] % 10).tolist() == first.tolist()
    assert (end[:, 0] % 10).tolist() == second.tolist()
    assert len(set(start[:3, 0].tolist())) > 1
    with pytest.raises(UserError, match="the data set shows no 9 in 9 images"):
        endpoints_among(latents[:9], torch.arange(9), "the data set")


def test_a_digit_that_no_image_shows_goes_to_the_image_most_like_it(caplog):
    logits = torch.zeros(12, 10)
    logits[torch.arange(12), torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7])] = 9.0
    logits[0, 8], logits[10, 8], logits[10, 9], logits[11, 9] = 8.0, 5.0, 6.0, 4.0  # image 0 is the only 0
    assert all_digits(logits).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9]
    assert caplog.messages == ["No image of the GAN reads as 8, 9: the images most like it stand for it."]


def test_paths_between_labels_keep_the_latent():
    for overrides in ((), ("model.concat=after",), ("model.label=onehot",)):
        model = gan(*overrides)
        path = between_labels(model).interpolate(torch.tensor([3]), torch.tensor([8]), 3, seed=0)
        latent = model.latents(1, torch.Generator().manual_seed(0))
        for end, digit in ((path[0], 3), (path[-1], 8)):
            assert torch.allclose(end, model.generate(latent, torch.tensor([digit])), atol=1e-6)


def test_metrics_of_paths(real):
    raw, labels = real["test"]
    scorer = load_scorer(None, "MNIST")
    images = raw[:200].float().div(255).unsqueeze(1)
    images = torch.nn.functional.pad(images, (2, 2, 2, 2))
    reference = Reference(raw[:200], fidelity.features_and_digits(scorer, images)[0], neighbours=5)
    first, second = labels[:20], labels[20:40]
    paths = linear(images[:20].flatten(1), images[20:40].flatten(1), torch.linspace(0, 1, 3)).unflatten(2, (1, 32, 32))
    measured = measure_paths(scorer, paths, first, second, reference)
    assert measured.by_image["nearest"].shape == (3, 20)
    assert measured.ends("nearest").max() < 0.01  # the ends are training images
    assert measured.midpoint("nearest").min() > 1
    assert measured.ends("inside").eq(1).all()
    assert measured.ends("legible").mean() > 0.9
    assert measured.by_image["entropy"][1].mean() > measured.by_image["entropy"][0].mean()
    assert torch.allclose(measured.by_path["detour"], torch.ones(20), atol=1e-4)  # images were blended linearly
    assert torch.allclose(measured.by_path["jump"], torch.ones(20), atol=1e-4)
    assert measured.midpoint("sharpness").mean() < measured.ends("sharpness").mean()  # blends are soft
    assert len(measured.midpoint_fids) == 5
    assert measured.midpoint_fid > measured.start_fid > 0  # blends are less realistic than real images


def test_separability_of_clusters_and_of_noise():
    digits = torch.arange(500) % 10
    apart = torch.nn.functional.one_hot(digits, 10) + 0.01 * torch.randn(500, 10)
    in_order = digits.argsort()  # the last fifth has digits of its own: both probes must see shuffled latents
    for order in (torch.arange(500), in_order):
        hits = separability(apart[order], digits[order], neighbours=5, seed=0)
        assert all(right.all() and len(right) == 100 for right in hits.values())
    noise = separability(torch.randn(500, 10), digits, neighbours=5, seed=0)
    assert all(right.float().mean() < 0.4 for right in noise.values())


def path_metrics(fid: float, **shares: tuple[float, float, float]) -> PathMetrics:
    """A hundred paths in three steps, with the share of legible (...) images in each step."""
    names = ("legible", "third_digit", "inside", "sharpness")
    by_image = {name: torch.full((3, 100), 0.5) for name in names}
    for name, by_step in shares.items():
        by_image[name] = torch.stack([first_of_hundred(share) for share in by_step])
    return PathMetrics(by_image, {"detour": torch.ones(100)}, 1.0, fid, [fid + 0.01 * part for part in range(5)])


def first_of_hundred(share: float) -> torch.Tensor:
    return (torch.arange(100) < 100 * share).float()


BLENDS = path_metrics(7.0, legible=(1.0, 0.4, 1.0), third_digit=(0.0, 0.1, 0.0), sharpness=(1, 1, 1))
DIGITS = path_metrics(2.0, legible=(0.8, 0.98, 0.8), third_digit=(0.0, 0.3, 0.0), sharpness=(0.5, 0.5, 0.5))


def measurements(paths=None, diversity=1.0, without=(), **changes) -> tuple[dict, dict, dict]:
    """The autoencoder blends; the GAN shows digits, which are soft and sometimes neither end's."""
    paths = {
        "autoencoder, linear": BLENDS,
        "GAN, linear": DIGITS,
        "GAN, spherical": path_metrics(3.0),
        "cGAN, label to label": path_metrics(5.0, legible=(1.0, 0.7, 1.0)),
    } | (paths or {})
    values = {
        "autoencoder, linear/legible_1_0": first_of_hundred(0.3),
        "GAN, linear/legible_7_1": first_of_hundred(0.6),
        **{f"autoencoder/separability_{probe}": first_of_hundred(0.95) for probe in ("knn", "linear")},
        **{f"GAN/separability_{probe}": first_of_hundred(0.5) for probe in ("knn", "linear")},
        "autoencoder/novelty": torch.rand(100),
        "GAN/novelty": torch.rand(80) + 3,
        "real images/novelty": torch.full((90,), 2.0),
    } | changes
    values = {name: value for name, value in values.items() if name not in without}
    metrics = {"floor/midpoint_fid": 0.5, "autoencoder/diversity": 0.9, "GAN/diversity": diversity}
    for name, measured in paths.items():
        metrics |= {f"{name}/{metric}": value for metric, value in measured.means().items()}
    return paths, values, metrics | {name: value.mean().item() for name, value in values.items()}


def verdicts(measured) -> dict[str, str]:
    return {verdict.claim: verdict.verdict for verdict in claims.judge(*measured)}


def test_claims_follow_the_metrics():
    measured = measurements()
    assert list(verdicts(measured).values()) == [HOLDS] * 10
    other = {"autoencoder": "GAN", "GAN": "autoencoder"}
    swapped = {
        f"{model}/{metric}": measured[1][f"{other[model]}/{metric}"]
        for model in other
        for metric in ("separability_knn", "separability_linear", "novelty")
    }
    swapped |= {
        "autoencoder, linear/legible_1_0": first_of_hundred(0.6),
        "GAN, linear/legible_7_1": first_of_hundred(0.99),
    }
    paths = {"autoencoder, linear": DIGITS, "GAN, linear": BLENDS}
    assert set(verdicts(measurements(paths, **swapped)).values()) == {FAILS}


def test_claims_need_their_values():
    found = verdicts(measurements(without=("autoencoder, linear/legible_1_0", "GAN, linear/legible_7_1")))
    assert len(found) == 8
    assert not any("1 to 0" in claim or "7 and 1" in claim for claim in found)
    found = verdicts(measurements(without=("GAN/novelty",)))
    assert len(found) == 9
    assert not any("creative" in claim for claim in found)


def test_low_diversity_is_not_creative():
    (creative,) = (v for v in claims.judge(*measurements(diversity=0.3)) if "creative" in v.claim)
    assert creative.verdict == DEPENDS
    assert creative.evidence.endswith("real images 2.00); diversity: autoencoder 0.90, GAN 0.30")


def test_answer_follows_the_metrics():
    def answer(**paths: PathMetrics) -> str:
        paths, values, metrics = measurements(paths)
        return claims.answer(paths, metrics, list(claims.judge(paths, values, metrics)))

    text = answer()
    better = "GAN, linear is closer to real images than autoencoder, linear: the FID of the midpoints is 2.00 against"
    assert better in text
    assert "between two of them it blends" in text
    assert "with a fixed latent, have an FID of 5.00, and 70% are legible" in text
    assert "straight lines beat arcs, although they shorten the latents (FID 3.00 on arcs, 2.00 on straight" in text
    text = answer(**{"autoencoder, linear": path_metrics(1.0), "GAN, spherical": path_metrics(1.5)})
    assert "autoencoder, linear is closer to real images than GAN, spherical" in text
    assert "between two of them it blends" not in text
    assert "arcs beat straight lines, because they keep the latents' length (FID 1.50 on arcs, 2.00 on straight" in text
    text = answer(**{"GAN, spherical": path_metrics(2.0)})
    assert "between arcs and straight lines is within the noise (FID 2.00 on arcs" in text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"steps": 10}, "study.steps=10: must be odd"),
        ({"digits": [[1, 0], [1, 1]]}, r"study.digits=\[\[1, 0\], \[1, 1\]\]: each pair must be two different digits"),
    ],
)
def test_impossible_options(option, message):
    with pytest.raises(UserError, match=message):
        Interpolation(**{"pairs": 10, "steps": 11, "digits": [[1, 0]], "neighbours": 5, "seed": 0, **option})


def test_impossible_study_is_one_line(fit, tmp_path):
    for digits, message in (("[[3,3]]", "each pair must be two different"), ("[[1,12]]", "a whole number from 0 to 9")):
        with pytest.raises((UserError, InstantiationException)) as error:
            fit(tmp_path, "experiment=interpolation", f"study.digits={digits}", task="study", tiny=False)
        assert message in one_line(error.value)


@pytest.fixture
def interpolation(fit, tmp_path):
    """`interpolation(folder, *words)` runs the study with tiny models, which it keeps in `kept`."""
    few = [*TINY, "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    quick = {"autoencoder": QUICK, "gan": few, "cgan": few}
    words = [f'{part}.overrides=["' + '","'.join(overrides) + '"]' for part, overrides in quick.items()]
    words += [f"{part}.folder={tmp_path / 'kept'}" for part in quick]
    words += ["study.pairs=12", "study.steps=3", "study.digits=[[1,0],[7,3]]"]

    def run(folder, *more, quickly=True):
        folder.mkdir(exist_ok=True)
        fit(folder, "experiment=interpolation", *(words if quickly else ()), *more, tiny=False, task="study")

    return run


def test_files_of_a_run(interpolation, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    interpolation(folder)
    assert len(list((tmp_path / "kept").iterdir())) == 3
    names = {"beside.png", "along.png", "1_to_0.png", "7_to_3.png"}
    assert {path.name for path in (folder / "figures").iterdir()} == names
    text = (folder / "answer.md").read_text()
    assert text.count("| holds |") + text.count("| fails |") + text.count("| noise |") + text.count("| depends |") == 9
    metrics = recorded(folder)["metrics"]
    by_image = ("confidence", "entropy", "legible", "third_digit", "sharpness", "nearest", "inside", "density")
    of_paths = [f"{name}_{place}" for name in by_image for place in ("ends", "middle")]
    of_paths += ["start_fid", "midpoint_fid", "detour", "jump", "legible_1_0", "legible_7_3"]
    of_models = ("separability_knn", "separability_linear", "novelty", "diversity")
    paths = [f"{model}, {curve}" for model in ("autoencoder", "GAN") for curve in ("linear", "spherical")]
    paths.append("cGAN, label to label")
    expected = {f"{name}/{metric}" for name in paths for metric in of_paths}
    expected |= {f"{model}/{metric}" for model in ("autoencoder", "GAN") for metric in of_models}
    expected |= {"floor/midpoint_fid", "floor/sharpness_middle", "real images/novelty"}
    assert metrics.keys() == expected
    head, _, *rows = [line.strip("| ").split(" | ") for line in text.split("\n\n")[1].splitlines()]
    assert [row[0] for row in rows] == [*paths, "real images"]
    assert len(head) == 13
    assert rows[0][3] == f"{metrics['autoencoder, linear/confidence_middle']:.2f}"
    assert rows[0][4] == f"{metrics['autoencoder, linear/legible_middle']:.1%}"

    kept = next((tmp_path / "kept").glob("gan_plain-*/checkpoints/best.ckpt"))
    monkeypatch.chdir(kept.parents[1])
    interpolation(tmp_path / "named", "gan.ckpt=checkpoints/best.ckpt")
    before = (tmp_path / "named/metrics.json").stat().st_mtime_ns
    interpolation(tmp_path / "named", "gan.ckpt=checkpoints/best.ckpt")  # complete, so it is skipped
    assert (tmp_path / "named/metrics.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gan.experiment=scorer", "is a Classifier, not a GAN without labels: name one made by experiment=gan_plain."),
        ("gan.ckpt=nowhere.ckpt", "ckpt=nowhere.ckpt: no such file"),
        ("gan.experiment=cgan_embed20", "is a GAN with labels, not a GAN without labels: name one made by"),
        ("cgan.experiment=gan", "is a GAN without labels, not a GAN with labels: name one made by"),
        ("autoencoder.experiment=interpolation", "is no model, not an Autoencoder: name one made by"),
        ("gan.experiment=gan", "gan: must be trained without clusters: choose one made by experiment=gan_plain"),
        ("study.neighbours=1000", "study.neighbours=1000: must be less than the .* test images"),
        ("scorer=nowhere.safetensors", "nowhere.safetensors: no such file"),
    ],
)
def test_mistakes_are_reported_before_any_model_is_trained(interpolation, tmp_path, word, message):
    kept = [f"{part}.folder={tmp_path / 'kept'}" for part in ("autoencoder", "gan", "cgan")]
    with pytest.raises(UserError, match=message):
        interpolation(tmp_path / "run", word, *kept, quickly=False)
    assert not (tmp_path / "kept").exists()
