"""The studies of transformers, the student report's claims, and networks that learn to mimic a layer."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from mnist_gen.errors import UserError
from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS
from mnist_gen.networks.transformer import CentredWindows, GridPositions, ReadTransformer
from mnist_gen.runs import checkpoint
from mnist_gen.transformers import Mimicry
from mnist_gen.transformers.claims import one_head, one_head_bound, order_and_positions, relative_error, two_heads
from mnist_gen.transformers.convolution_study import MimicConvolution
from mnist_gen.transformers.dense_study import MimicDense
from mnist_gen.transformers.mimicry import ConvolutionTeacher, DenseTeacher
from tests.conftest import recorded


def convolutions(**options) -> MimicConvolution:
    settings = {"images": 2, "seed": 0, "kernels": [3], "channels": 2, "alpha": 50, "alphas": [0.1, 20]}
    return MimicConvolution(**{**settings, **options})


@torch.no_grad()
def test_convolutions_are_exact_unless_changed(real):
    torch.manual_seed(0)
    results = convolutions().measure(real["test"][0][:2, None, 8:20, 8:20] / 255)
    assert len(results.exact) == 7
    assert max(error["float32"] for _, error in results.exact) < 1e-5
    assert max(error["float64"] for _, error in results.exact) < 1e-10
    broken = dict(results.broken)
    assert max(broken.pop("pixels, 9 of 9 heads"), broken.pop("pixels, alpha 20")) < 1e-5
    assert min(broken.values()) > 0.02
    assert [verdict.verdict for verdict in results.verdicts] == [HOLDS, FAILS, FAILS, HOLDS, HOLDS, DEPENDS]
    assert set(results.figures) == {"convolutions", "alpha", "heads"}


@torch.no_grad()
def test_curves_show_each_kernel():
    lines = {
        name: [(line.get_label(), len(line.get_xdata())) for line in figure.axes[0].get_lines()]
        for name, figure in convolutions(kernels=[1, 5]).measure(torch.rand(1, 1, 8, 8)).figures.items()
    }
    kernels = ("1x1 kernel", "3x3 kernel", "5x5 kernel")
    assert lines["alpha"] == [(kernel, 2) for kernel in kernels]
    assert lines["heads"] == [(kernel, 25) for kernel in kernels]  # spare heads change nothing


@torch.no_grad()
def test_order_matters_only_with_positions():
    torch.manual_seed(1)
    claims = {verdict.claim: verdict.verdict for verdict in order_and_positions(torch.rand(2, 1, 12, 12))}
    assert claims == {
        "a transformer is invariant to permutation": FAILS,
        "it does not consider order, unless positions are added": HOLDS,
        "sinusoidal positions let it attend to relative ones": HOLDS,
        "it takes inputs of variable length": DEPENDS,
    }


def test_two_heads_compute_signed_matrices_and_one_does_not():
    torch.manual_seed(0)
    matrix = torch.randn(5, 40)
    assert 0.5 < one_head_bound(matrix) <= relative_error(one_head(matrix), matrix)
    assert one_head_bound(torch.tensor([[3.0, -4.0, 0.0]])) == pytest.approx(3 / 5)
    assert two_heads(matrix).shape == matrix.shape
    assert relative_error(two_heads(matrix), matrix) < 1e-5


def test_one_head_computes_positive_rows():
    rows = torch.rand(4, 6)
    rows = 0.5 * rows / rows.sum(dim=1, keepdim=True)  # positive, with equal sums
    assert relative_error(one_head(rows), rows) < 0.02


def test_relative_errors():
    assert relative_error(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 4.0])) == pytest.approx((1 / 10) ** 0.5)


def test_even_kernels_are_refused():
    with pytest.raises(UserError, match=r"study.kernels=\[3, 4\]: must be odd, for windows"):
        convolutions(kernels=[3, 4])


def test_study_leaves_its_tables(fit, tmp_path, monkeypatch):
    monkeypatch.setattr("mnist_gen.transformers.dense_study.IMAGE_SIZE", 8)
    monkeypatch.setattr("mnist_gen.transformers.study.to_images", lambda raw: raw[:, None, :8, :8] / 255.0)
    (tmp_path / "run").mkdir()
    fit(tmp_path / "run", "experiment=mimic_mlp", "study.images=2", tiny=False, task="study")
    text = (tmp_path / "run" / "mimic_mlp.md").read_text()
    assert "| one token: dense, 64 to 10 |" in text
    assert "| a transformer is a generalization of MLP | holds |" in text
    assert "| since its self-attention lets all items interact | depends |" in text
    rows = text.split("relative error")[1].splitlines()[2:9]
    changed = {name.strip(): float(error) for _, name, error, _ in (row.split("|") for row in rows)}
    assert changed.pop("the matrix by two heads of opposite sign and a token of zeros") < 1e-5
    assert len(changed) == 6
    assert min(changed.values()) > 0.5
    metrics = recorded(tmp_path / "run")["metrics"]
    assert metrics["largest_error/float32"] < 1e-5
    assert metrics["largest_error/float64"] < 1e-10
    assert (tmp_path / "run" / "figures" / "signed_matrix.png").exists()
    assert MimicDense.name == "mimic_mlp"


def transformer(pooled=True) -> ReadTransformer:
    small = {"tokens": CentredWindows(3), "positions": GridPositions(), "channels": 1, "dim": 8, "depth": 1, "heads": 2}
    return ReadTransformer(3, pooled, **small, hidden=8)


def mimicry(teacher, pooled) -> Mimicry:
    network = transformer(pooled)
    return Mimicry(teacher, network, 8, partial(torch.optim.SGD, lr=0.1), warmup=0, decay_from=1.0)


def test_teachers_equal_torchs_layers():
    images = torch.rand(2, 1, 8, 8)
    convolution, dense = ConvolutionTeacher(3, 5), DenseTeacher(4, 8)
    targets = torch.nn.functional.conv2d(images, convolution.weight, convolution.bias, padding=2)
    assert torch.allclose(convolution(images).transpose(1, 2).unflatten(2, (8, 8)), targets, atol=1e-6)
    assert torch.equal(dense(images), images.flatten(1) @ dense.weight.T + dense.bias)
    with pytest.raises(UserError, match="model.teacher.kernel=4: must be odd, to keep the size of an image"):
        ConvolutionTeacher(3, 4)


@pytest.mark.parametrize(("teacher", "pooled"), [(ConvolutionTeacher(3, 3), False), (DenseTeacher(3, 8), True)])
def test_only_the_network_learns(teacher, pooled):
    model = mimicry(teacher, pooled)
    images = torch.rand(2, 1, 32, 32)
    outputs, targets = model.outputs_and_targets(images)
    assert outputs.shape == targets.shape
    loss = model.training_step((images, torch.zeros(2)), 0)
    assert loss.item() == pytest.approx((outputs - targets).square().mean().item())
    loss.backward()
    assert all(weight.grad is not None for weight in model.network.read.parameters())
    assert all(weight.grad is None for weight in teacher.parameters())


def test_other_output_shapes_are_refused():
    with pytest.raises(UserError, match=r"model.network gives \(3,\) per image, the teacher \(64, 3\)"):
        mimicry(ConvolutionTeacher(3, 3), pooled=True)


def test_relative_error_of_the_best_constants_is_1(monkeypatch):
    model, logged = mimicry(DenseTeacher(3, 8), True), {}
    model._trainer = SimpleNamespace(testing=False)
    monkeypatch.setattr(model, "log", lambda name, value, **_: logged.__setitem__(name, value.item()))
    targets = torch.randn(4, 3)
    for outputs, error in ((targets, 0.0), (targets.mean(dim=0).expand_as(targets), 1.0)):
        for rows in (slice(3), slice(3, None)):  # batches of different sizes
            batch = (outputs[rows], targets[rows])
            monkeypatch.setattr(model, "outputs_and_targets", lambda images, batch=batch: batch)
            model.validation_step((targets, targets), 0)
        model.on_validation_epoch_end()
        assert logged["val/relative_error"] == pytest.approx(error, abs=1e-6)


def test_network_approaches_its_teacher():
    torch.manual_seed(0)
    model, images = mimicry(ConvolutionTeacher(3, 3), pooled=False), torch.rand(8, 1, 32, 32)
    optimizer = torch.optim.Adam(model.network.parameters(), lr=1e-2)
    losses = []
    for _ in range(100):
        loss = model.training_step((images, torch.zeros(8)), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("teacher", ["convolution", "dense"])
def test_mimicry_run_leaves_its_files(fit, tmp_path, teacher):
    words = ["experiment=mimic_learned", f"model/teacher={teacher}", "model.side=8", "trainer.max_epochs=1"]
    words += ["trainer.limit_train_batches=2", "data.batch_size=8", "data.eval_batch_size=50"]
    fit(tmp_path, *words, tiny=False)
    metrics = recorded(tmp_path)["metrics"]
    assert 0 < metrics["test/relative_error"] < 100
    assert (tmp_path / "figures/mimicry.png").exists()
    again = checkpoint.load(tmp_path / "checkpoints/best.ckpt")
    assert isinstance(again, Mimicry)


def test_side_must_divide_an_image():
    with pytest.raises(UserError, match="model.side=5: must be a divisor of 32"):
        Mimicry(DenseTeacher(3, 5), transformer(), 5, partial(torch.optim.SGD, lr=0.1), warmup=0, decay_from=1.0)
