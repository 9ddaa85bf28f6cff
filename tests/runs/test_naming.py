import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from mnist_gen.runs.naming import _is_set, _job_name, _sweep_folder, short_names, swept_and_fixed
from tests.conftest import CONF


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["model.embedding_dim", "seed"], ["embedding_dim", "seed"]),
        (["model/loss", "model.discriminator.activation"], ["loss", "activation"]),
        (["data.seed", "seed"], ["data.seed", "seed"]),  # one name for each
    ],
)
def test_names_are_the_last_part_of_a_key_if_that_is_unique(keys, names):
    assert list(short_names(keys).values()) == names


def sweep(*words):
    """A sweep's folder and the name of its job, as Hydra resolves it."""
    from hydra import compose, initialize_config_dir

    from mnist_gen.runs.config import composing

    first = [word.partition(",")[0] for word in words]
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", overrides=first, return_hydra_config=True)
    cfg.hydra.overrides.task = list(words)
    with composing([CONF]):
        swept, fixed = swept_and_fixed(cfg)
        cfg.hydra.sweep.subdir = _job_name(swept)
    HydraConfig.instance().cfg = None
    HydraConfig.instance().set_config(cfg)
    return _sweep_folder(cfg, swept, fixed).rpartition("/")[2], cfg.hydra.sweep.subdir


def test_a_sweep_and_its_jobs_are_named_by_what_is_swept():
    words = ("experiment=cgan_embed20", "model.embedding_dim=5,20", "model/loss=bce,hinge", "seed=0,1")
    assert sweep(*words) == ("cgan_embed20_embedding_dim_loss_seed", "embedding_dim-5_loss-bce_seed-0")
    assert sweep("experiment=gan,cgan_embed20", "seed=0,1") == ("gan-cgan_embed20_seed", "gan_seed-0")


def test_names_that_the_command_line_sets_may_refer_to_a_job():
    words = ["hydra.sweep.subdir=${hydra.job.num}", "+hydra.sweep.dir=here"]
    config = OmegaConf.create({"hydra": {"overrides": {"hydra": words}, "job": {"num": "???"}}})
    assert _is_set(config, "hydra.sweep.subdir")
    assert _is_set(config, "hydra.sweep.dir")
    assert not _is_set(config, "hydra.run.dir")


def test_sweeps_that_differ_in_what_is_fixed_have_folders_of_their_own():
    words = ("experiment=cgan_embed20", "seed=0,1")
    names = [sweep(*words, *fixed)[0] for fixed in ([], ["model.r1=1"], ["model.r1=2"], ["model.r1=1"])]
    few = "experiment=transfer_linear_frozen"
    assert sweep(few, "data.draws=1,2")[0] != sweep(few, "model.draws=1,2")[0]
    assert names[0] == "cgan_embed20_seed"
    assert names[1] == names[3] != names[2]
    assert all(
        name.startswith("cgan_embed20_seed_") and len(name) == len("cgan_embed20_seed_") + 6 for name in names[1:]
    )
