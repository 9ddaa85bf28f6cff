"""The code blocks of docs/extend.md, as they stand, in a copy of the project."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, TINY, error_line, forking

TEXT = (ROOT / "docs/extend.md").read_text()
STEPS = re.compile(r"^(Append to|Create|Add to `\w+` in) `([^`]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
TRIES = """
import runpy
import sys
sys.path.insert(0, "src")
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from mnist_gen.data.mnist import ImageData
from mnist_gen.evaluation.metrics import OF_SAMPLES, RealImages, Samples

with initialize_config_dir(sys.argv[1] + "/conf", version_base="1.3"):
    def model(*words):
        return instantiate(compose("train", overrides=list(words)).model)

    words = ("model/loss=least_squares", "model/generator=mlp", "model.generator.hidden=8")
    gan = model("experiment=cgan_embed20", *words)
    assert gan.sample(digit=3, count=2).shape == (2, 1, 32, 32)
    assert gan.loss.generator(torch.zeros(2), torch.zeros(2)) == 1
    assert gan.loss.discriminator(torch.ones(2), torch.zeros(2)) == 0
    hinge = compose("train", overrides=["experiment=cgan_hinge"]).model
    assert (hinge.loss._target_.rpartition(".")[2], hinge.embedding_dim) == ("Hinge", 40)
(ink,) = [metric for metric in OF_SAMPLES if metric.name == "ink" and metric.validation]
gray = torch.full((2, 1, 32, 32), 0.5)
assert ink.measure(Samples(gray, None, None, RealImages(gray / 2, None, None))) == 2
data = ImageData("noise", ".", ".", batch_size=8, path="noise.npz")
data.setup()
assert (len(data.train), len(data.val), len(data.test)) == (405, 45, 50)

sys.argv = ["train.py", *sys.argv[2:]]  # in this process, because imports take ten seconds
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with every change of the page."""
    root = tmp_path_factory.mktemp("extended")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("train.py", "tests/forks.py"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for how, path, code in STEPS.findall(TEXT):
        place = root / path
        if how == "Create":
            assert not place.exists()
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(code)
        elif how == "Append to":
            place.write_text(f"{place.read_text()}\n\n{code}")
        else:
            line = f"{how.split('`')[1]} = (\n"
            assert line in place.read_text()
            place.write_text(place.read_text().replace(line, line + code))
    (noise,) = re.findall(r"^```python\n(import numpy.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    subprocess.run([sys.executable, "-c", noise], cwd=root, check=True)
    return root


def test_each_change_takes_at_most_two_files():
    for section in TEXT.split("\n## ")[1:]:
        assert len(STEPS.findall(section)) <= 2
    assert len(STEPS.findall(TEXT)) == 12


@pytest.mark.slow
def test_every_change_works(extended):
    words = ["experiment=rotation", "data=noise", "trainer.max_epochs=1", "hydra.run.dir=run"]
    command = [sys.executable, "-c", TRIES, str(extended), *words]
    done = subprocess.run(command, cwd=extended, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "turns_right" in done.stdout
    left = {path.name for path in (extended / "run").rglob("*")}
    assert left >= {"metrics.json", "history.json", "best.ckpt", "last.ckpt", "losses.png", "train.log"}


@pytest.mark.slow
def test_a_package_outside_the_clone(extended, tmp_path):
    """It trains, and its checkpoint loads again where the command line trusts it."""
    own, data = ("--config-dir", "elsewhere/conf", "experiment=mine"), f"data.root={ROOT / 'data'}"
    unmeasured = ("~callbacks.metrics", "~callbacks.confusion", "~callbacks.best")  # on all of MNIST: a minute
    unmeasured += ("callbacks.progress.metric=val/fid", "callbacks.progress.mode=min")
    tiny = [word for word in TINY if not word.startswith(("callbacks.metrics", "callbacks.confusion"))]
    place = {"PYTHONPATH": str(extended / "elsewhere"), "MNIST_GEN_ROOT": str(extended)}
    with forking(extended, tmp_path, **place) as run:
        trained = run(*own, *tiny, *unmeasured, data, "hydra.run.dir=own")
        assert trained.returncode == 0, trained.stderr
        assert "epoch 2 is over" in trained.stdout
        remedy = "if you trust it, add trust=[my_package]."
        assert error_line(run("task=test", "ckpt=own")).endswith(remedy)
        trusted = run("task=test", "ckpt=own", "trust=[my_package]", data, "hydra.run.dir=again")
        assert trusted.returncode == 0, trusted.stderr
        wrong = error_line(run(*own, "+model.loss.weight=1"))
        assert "my_package.Wasserstein" in wrong
        assert "takes no arguments" in wrong
