"""The configuration: what experiments compose to, and configurations as plain values."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from mnist_gen.runs import limits
from mnist_gen.runs.config import differing, flat, plain
from tests.conftest import CONF, EXPERIMENTS, ROOT, composed

MAIN = "experiment=cgan_embed20"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name):
    """And every number has a range, in which it lies."""
    cfg = composed(f"experiment={name}")
    assert (cfg.task == "fit") == ("model" in cfg)
    config = plain(cfg)
    for key, value in flat(config):
        if isinstance(value, int | float | list) and not isinstance(value, bool):
            assert limits.range_of(key) is not None, key
    unfilled = [key for key, value in flat(config) if value is None]  # by the model that it starts from
    limits.check(config, apart=unfilled)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_its_command(name):
    assert f"python train.py experiment={name}" in (ROOT / f"conf/experiment/{name}.yaml").read_text()


@pytest.mark.parametrize("arm", ["frozen", "finetune", "scratch"])
@pytest.mark.parametrize(("head", "epochs"), [("linear", 200), ("mlp", 100)])
def test_transfer_stops_as_the_report_does(head, epochs, arm):
    ours, report = (composed(f"experiment={folder}transfer_{head}_{arm}") for folder in ("", "student_report/"))
    for cfg in (ours, report):
        assert (cfg.model.arm, cfg.model.patience, cfg.trainer.max_epochs) == (arm, 20, epochs)
        assert cfg.model.head._target_.endswith("LinearHead" if head == "linear" else "MLPHead")
        assert cfg.model.optimizer._target_ == "torch.optim.Adam" or cfg is ours
    assert (ours.data.watched > 0, ours.data.folds > 0) == (True, True)
    assert (report.data.watched, report.data.folds, report.pretrained.experiment) == (0, 0, "autoencoder")
    assert (report.model.optimizer.lr, report.model.latents, report.model.ema_decay) == (1e-3, "raw", 0.0)
    assert (report.model.augment, report.model.noise) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("words", "folder"),
    [([MAIN], "/outputs/cgan_embed20/"), (["task=test"], "/outputs/test/"), (["task=sample"], None)],
)
def test_each_task_has_its_folder(words, folder):
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", overrides=words, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    assert folder in cfg.hydra.run.dir if folder else cfg.hydra.run.dir == "."
    assert cfg.hydra.output_subdir == (".hydra" if folder else None)


def test_flat_and_differing():
    one = {"a": {"b": 1, "c": [1, 2]}, "d": None}
    assert dict(flat(one)) == {"a.b": 1, "a.c": [1, 2], "d": None}
    assert differing(one, {"a": {"b": 2, "c": [1, 2]}}) == ["a.b", "d"]
    assert differing(one, one) == []
    assert differing({"root": "/a", "data": {"root": "/a"}}, {"root": "/b", "data": {"root": "/b"}}) == []
