"""What transformers compute: the studies, and the report's claims about them."""

import json

import pytest
import torch

from mnist_gen.claims import FAILS, HOLDS
from mnist_gen.claims.attention import order_and_place, relative_error, signed_by_softmax
from mnist_gen.errors import UserError
from mnist_gen.studies.mimicry import MimicConvolution, MimicDense
from tests.conftest import error_line, train_py


def convolutions(**options) -> MimicConvolution:
    settings = {"images": 2, "seed": 0, "kernels": [3], "channels": 2, "alpha": 50, "alphas": [0.1, 20], "heads": None}
    return MimicConvolution(**{**settings, **options})


@torch.no_grad()
def test_convolutions_are_exact_until_something_is_changed():
    torch.manual_seed(0)
    found = convolutions().look(torch.rand(2, 1, 12, 12))
    assert len(found.exact) == 7
    assert max(error["float32"] for _, error in found.exact) < 1e-5
    assert max(error["float64"] for _, error in found.exact) < 1e-10
    broken = dict(found.broken)
    assert broken["pixels, 9 of 9 heads"] < 1e-5
    assert broken["pixels, alpha 20"] < 1e-5 < broken["pixels, alpha 0.1"]
    assert min(error for name, error in found.broken if "windows" in name or "without" in name) > 0.05
    assert [verdict.verdict for verdict in found.verdicts] == [HOLDS, FAILS, FAILS, HOLDS, HOLDS, FAILS]
    assert set(found.pictures) == {"convolutions", "alpha", "heads"}


@torch.no_grad()
def test_order_matters_only_with_positions():
    torch.manual_seed(1)
    claims = {verdict.claim: verdict.verdict for verdict in order_and_place(torch.rand(2, 1, 12, 12))}
    assert claims == {
        "a transformer is invariant to permutation": FAILS,
        "it does not consider order, unless positions are added": HOLDS,
        "sinusoidal positions let it attend to relative ones": HOLDS,
        "it takes inputs of variable length": FAILS,
    }


def test_one_head_misses_the_signs_and_two_do_not():
    torch.manual_seed(0)
    matrix, inputs = torch.randn(5, 40), torch.rand(3, 40)
    bound, reached, two = signed_by_softmax(matrix, inputs)
    positive, negative = matrix.clamp_min(0).norm(), matrix.clamp_max(0).norm()
    assert bound >= min(positive, negative) / matrix.norm() - 1e-6  # entries of one sign are out of reach
    assert reached > 0.1
    assert two < 1e-5


def test_one_head_can_be_what_a_softmax_is():
    rows = torch.rand(4, 6)
    rows = 0.5 * rows / rows.sum(dim=1, keepdim=True)  # positive, with the same sum
    assert signed_by_softmax(rows, torch.rand(2, 6))[0] < 0.02


def test_relative_errors():
    assert relative_error(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 4.0])) == pytest.approx((1 / 10) ** 0.5)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"images": 0}, "study.images=0: must be at least 1"),
        ({"kernels": [3, 4]}, "size=4: a window with a pixel in its centre has an odd side"),
        ({"heads": 4}, "study.heads=4: a 3x3 kernel needs 9, one an offset"),
    ],
)
def test_impossible_studies_are_refused(option, message):
    with pytest.raises(UserError, match=message):
        convolutions(**option)


def test_a_study_leaves_its_tables(fit, tmp_path, monkeypatch):
    monkeypatch.setattr("mnist_gen.studies.mimicry.IMAGE_SIZE", 8)
    monkeypatch.setattr("mnist_gen.studies.mimicry.to_images", lambda raw: raw[:, None, :8, :8] / 255.0)
    (tmp_path / "run").mkdir()
    fit(tmp_path / "run", "experiment=mimic_mlp", "study.images=2", tiny=False, task="study")
    text = (tmp_path / "run" / "mimic_mlp.md").read_text()
    assert "| one token: dense, 64 to 10 |" in text
    assert "| a transformer is a generalization of MLP | holds |" in text
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    assert metrics["largest_error/float32"] < 1e-5
    assert metrics["largest_error/float64"] < 1e-10
    assert MimicDense.name == "mimic_mlp"


def test_too_few_heads_end_in_one_line(tmp_path):
    line = error_line(train_py("experiment=mimic_conv", "study.heads=9", f"hydra.run.dir={tmp_path}/run"))
    assert line == "error: study.heads=9: a 5x5 kernel needs 25, one an offset."
