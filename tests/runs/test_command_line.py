"""Checks of the command line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser

from mnist_gen.errors import UserError
from mnist_gen.runs import machine
from mnist_gen.runs.command_line import check_arguments
from mnist_gen.system import devices
from tests.conftest import CONF, ROOT, composed

MAIN = "experiment=cgan_embed20"

pytestmark = pytest.mark.usefixtures("typed")


@pytest.mark.parametrize(
    "words",
    [
        (MAIN,),
        (MAIN, "model.label=null", "model.concat=after", "seed=0", "trainer.devices=2", "callbacks.draw.at_epochs=[1]"),
        (MAIN, "model.generator_optimizer.lr=1"),  # a whole number is a number
        (MAIN, "model/loss=bce", "model.loss.real_target=0.9"),
        ("-m", MAIN, "model.embedding_dim=5,20", "seed=range(0,3)"),
        ("-m", MAIN, "model.r1=interval(0.1,10)"),
        ("-m", "experiment=glob(*)"),
        ("-m", "experiment=cgan_embed65,gan", "callbacks.metrics.cas=false", "model.embedding_dim=5,20"),
        ("task=sample", f"ckpt={__file__}", "digit=3", "out=a.png"),
        (MAIN, "hydra.run.dir=/x"),
        (MAIN, "+trainer.gradient_clip_val=1.0"),
        ("--cfg", "job"),
        ("--help",),
    ],
)
def test_right_arguments(words):
    in_order = sorted(words, key=lambda word: word.startswith("-") or word == "job")  # flags come last
    assert [word.lstrip("+") for word in check_arguments(CONF, words)] == [word.lstrip("+") for word in in_order]


@pytest.mark.parametrize("words", [(MAIN, "--cfg", "job", "seed=1"), (MAIN, "seed=1", "--cfg", "job")])
def test_overrides_may_stand_on_both_sides_of_a_flag(words):
    assert check_arguments(CONF, words) == [MAIN, "seed=1", "--cfg", "job"]


@pytest.mark.parametrize("flag", ["--info", "-i", "--help", "--multirun", "--cfg=job", "-cn=train"])
def test_hydra_reads_overrides_and_flags(flag):
    """A flag whose value is optional must not take an override for it."""
    read = get_args_parser().parse_args(check_arguments(CONF, (flag, MAIN, "seed=1")))
    assert read.overrides == [MAIN, "seed=1"]


def test_a_folder_with_an_equals_sign_belongs_to_its_flag(tmp_path):
    (tmp_path / "lr=1/experiment").mkdir(parents=True)
    (tmp_path / "lr=1/experiment/mine.yaml").write_text("# @package _global_\ndefaults:\n  - cgan_embed20\n")
    words = ("-m", "-cd", f"{tmp_path}/lr=1", "experiment=mine", "seed=0,1")
    assert check_arguments(CONF, words) == ["experiment=mine", "seed=0,1", *words[:3]]


@pytest.mark.parametrize("word", ["trainer=gpu", "trainer=ddp", "trainer.accelerator=cuda"])
def test_a_gpu_is_asked_for_before_torch_is_imported(monkeypatch, word):
    monkeypatch.setattr(devices, "gpus", lambda: 1)
    check_arguments(CONF, (MAIN, word))
    monkeypatch.setattr(devices, "gpus", lambda: 0)
    with pytest.raises(UserError, match=f"{word}: no GPU driver answers on this machine; use trainer=cpu."):
        check_arguments(CONF, (MAIN, word))
    check_arguments(CONF, (MAIN, word, "--cfg", "job"))


def test_jobs_of_a_sweep_are_single_processes():
    with pytest.raises(UserError, match=r"^trainer.devices=2: a sweep runs each job in one process; set trainer.dev"):
        check_arguments(CONF, ("-m", MAIN, "seed=0,1", "trainer.devices=2"))


@pytest.mark.parametrize("launcher", machine.OF_CLUSTERS)
def test_the_machine_that_starts_a_cluster_s_jobs_needs_no_gpu(monkeypatch, launcher):
    monkeypatch.setattr(devices, "gpus", lambda: 0)
    words = ["trainer=gpu", f"hydra/launcher={launcher}"]
    machine.check_accelerator(composed(MAIN, words[0]), OverridesParser.create().parse_overrides(words))
    with pytest.raises(UserError, match="trainer=gpu: no GPU driver answers on this machine"):
        machine.check_accelerator(composed(MAIN, words[0]), OverridesParser.create().parse_overrides(words[:1]))


def test_a_device_is_asked_for_before_torch_is_imported(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: 0)
    with pytest.raises(UserError, match="device=cuda: no GPU driver answers on this machine; use device=cpu"):
        check_arguments(CONF, ("task=sample", "device=cuda"))
    if sys.platform != "darwin":
        with pytest.raises(UserError, match="device=mps: this machine is no Mac; use device=cpu"):
            check_arguments(CONF, ("task=sample", "device=mps"))


def test_what_an_export_needs_is_named_too(monkeypatch):
    monkeypatch.setitem(machine.EXTRAS, "format=onnx", ("export", "json a_module_that_nobody_has"))
    with pytest.raises(UserError, match=r"format=onnx is not installed: python -m pip install -e '.\[export\]'."):
        check_arguments(CONF, ("task=export",))
    check_arguments(CONF, ("task=export", "format=torch_export"))


def test_a_plugin_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(machine.EXTRAS, "hydra/launcher=nothing", ("sweep", ""))
    monkeypatch.setitem(machine.EXTRAS, "logger=csv", ("far", "a_module_that_nobody_has"))
    with pytest.raises(
        UserError, match=r"hydra/launcher=nothing is not installed: python -m pip install -e '.\[sweep\]'."
    ):
        check_arguments(CONF, ("-m", MAIN, "seed=0,1", "hydra/launcher=nothing"))
    check_arguments(CONF, ("-m", MAIN, "seed=0,1", "hydra/launcher=basic"))
    with pytest.raises(UserError, match=r"logger=csv is not installed: python -m pip install -e '.\[far\]'."):
        check_arguments(CONF, (MAIN, "logger=[tensorboard,csv]"))
    monkeypatch.setattr(machine, "INSTALLED", Path(CONF))
    with pytest.raises(UserError, match=r"logger=csv is not installed: python -m pip install 'mnist_gen\[far\]'."):
        check_arguments(CONF, (MAIN, "logger=[tensorboard,csv]"))


@pytest.mark.parametrize("pattern", ["nothing_*", "student_report/transfer_*"])
def test_a_glob_that_matches_nothing_is_named(pattern):
    line = f"experiment=glob({pattern})"
    with pytest.raises(UserError, match=re.escape(f"{line}: matches nothing; to sweep what is in a subfolder, list")):
        check_arguments(CONF, ("-m", line))


def test_each_choice_of_a_list_is_checked():
    check_arguments(CONF, (MAIN, "logger=[tensorboard,csv]", "callbacks/extra=[early_stopping,lr_monitor]"))
    with pytest.raises(UserError, match="logger=scv: did you mean csv"):
        check_arguments(CONF, (MAIN, "logger=[tensorboard,scv]"))


def test_debugging_stands_for_the_settings_that_an_experiment_has():
    """What the command line sets itself goes before."""
    settings = check_arguments(CONF, (MAIN, "debug=limit", "trainer.max_epochs=3"))[3:]
    assert check_arguments(CONF, (MAIN, "debug=limit", "-m", "trainer.max_epochs=3"))[3:] == [*settings, "-m"]
    assert {"++trainer.limit_train_batches=10", "++callbacks.metrics.cas=False"} <= {*settings}
    assert not any(word.startswith(("++trainer.max_epochs", "++data.draws", "++study.")) for word in settings)
    assert "++trainer.profiler=simple" in check_arguments(CONF, (MAIN, "debug=profile"))
    assert "++trainer.max_epochs=1" in check_arguments(CONF, (MAIN, "debug=fast", "trainer=cpu"))
    left_out = check_arguments(CONF, (MAIN, "debug=fast", "~callbacks.draw"))
    assert not any(word.startswith("++callbacks.draw") for word in left_out)
    few = check_arguments(CONF, ("experiment=transfer_linear_frozen", "debug=fast"))
    assert "++data.draws=1" in few
    assert not any(word.startswith("++callbacks.metrics.cas") for word in few)
    with pytest.raises(UserError, match="debug: choose one; it takes neither a list nor a sweep"):
        check_arguments(CONF, ("-m", MAIN, "debug=fast,limit"))
    with pytest.raises(UserError, match="debug: does not go with a sweep over experiments"):
        check_arguments(CONF, ("-m", "experiment=gan,cgan_embed20", "debug=fast"))


@pytest.mark.parametrize("words", [("--config-dir", "{}"), ("--config-dir={}",), ("hydra.searchpath=[file://{}]",)])
def test_experiments_of_another_folder_are_found(words, tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - cgan_embed20\n  - _self_\n\nmodel:\n  latent_dim: 7\n"
    (tmp_path / "experiment/mine.yaml").write_text(text)
    words = [word.format(tmp_path) for word in words]
    assert {"experiment=mine", "model.latent_dim=9"} < {
        *check_arguments(CONF, [*words, "experiment=mine", "model.latent_dim=9"])
    }
    with pytest.raises(UserError, match="experiment=mime: did you mean mine"):
        check_arguments(CONF, [*words, "experiment=mime"])
    with pytest.raises(UserError, match="no such folder"):
        check_arguments(CONF, ["--config-dir", f"{tmp_path}/none", "experiment=mine"])


def test_the_ends_of_an_interval_are_checked():
    with pytest.raises(UserError, match="model.r1=-1.0: must be a number from 0 to 1000000"):
        check_arguments(CONF, ("-m", MAIN, "model.r1=interval(-1,10)"))


def test_only_a_sweep_over_experiments_forces_its_fixed_keys():
    """Hydra composes what its jobs share without any of the experiments."""
    fixed = ("data.labels_seed=0", "+trainer.gradient_clip_val=1.0", "pretrained=autoencoder", "hydra.sweep.dir=x")
    assert check_arguments(CONF, ("-m", "experiment=transfer_linear_frozen", "data.labels=10,50", *fixed))[2:] == [
        *fixed,
        "-m",
    ]
    assert check_arguments(CONF, ("-m", "experiment=glob(transfer_*_*)", "data.labels=10,50", *fixed))[1:] == [
        "data.labels=10,50", "++data.labels_seed=0", "++trainer.gradient_clip_val=1.0", *fixed[2:], "-m"
    ]  # fmt: skip


def test_what_swept_experiments_bring_can_be_chosen(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: 1)
    swept = ["experiment=translate_l1_paired,translate_cgan_paired", "seed=0,1"]
    words = [*swept, "data/rendering=slant", "trainer=gpu", "model/strategy=l1,gan", "-m"]
    assert check_arguments(CONF, words) == [*swept, "data/rendering=choice(slant)", *words[3:]]
    assert check_arguments(CONF, ["experiment=translate_l1_paired", *words[1:]])[2] == words[2]


def test_a_run_that_goes_on_keeps_its_configuration(tmp_path):
    path = tmp_path / "checkpoints/last.ckpt"
    path.parent.mkdir()
    path.touch()
    check_arguments(CONF, [f"ckpt={path}", "trainer.max_epochs=3"])
    for word in ("model.embedding_dim=3", "seed=1", MAIN):
        for task in ("fit", "test", "sample"):
            if (task, word) != ("sample", "seed=1"):
                with pytest.raises(UserError, match=f"{word.partition('=')[0]} cannot be changed"):
                    check_arguments(CONF, [f"task={task}", f"ckpt={path}", word])
    with pytest.raises(UserError, match="a sweep cannot continue from one checkpoint"):
        check_arguments(CONF, ["-m", f"ckpt={path}", "trainer.max_epochs=2,4"])


def test_checking_imports_no_torch():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        f"from mnist_gen.evaluation import sweeps\nfrom mnist_gen.runs import command_line, folders, layout, naming\n"
        f"command_line.check_arguments({CONF!r}, [{MAIN!r}, 'seed=3'])\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path("/")).returncode == 0


def test_help_and_config_answer_without_torch():
    for words, answer in ((["--help"], "experiment"), (["--cfg", "job", MAIN], "embedding_dim: 20")):
        command = [sys.executable, "-X", "importtime", str(ROOT / "train.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert answer in done.stdout
        assert not any(line.split("|")[-1].strip() in ("torch", "lightning") for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (["experiment=cgan_embed20", "callbacks.judge.cas=false"], "callbacks.metrics.cas"),
        (["experiment=transfer_linear_frozen", "model.codes=raw"], "model.latents"),
        (["experiment=transfer_linear_frozen", "callbacks.recognition.reported=null"], "callbacks.metrics.reported"),
        (["experiment=translate_l1_paired", "reader.ckpt=a.ckpt"], "target_scorer.ckpt"),
        (["experiment=translate_l1_paired", "model.generator.channels=8"], "model.translator.channels"),
        (["experiment=comparison", "study.codes=100"], "study.latents"),
        (["experiment=gan_codes"], "gan_latent"),
        (["experiment=report/gan"], "student_report/gan"),
        (["experiment=gan", "model/clusters=latents"], "model/pseudo_labels"),
        (["experiment=gan", "model.clusters.count=9"], "model.pseudo_labels.count"),
        (["experiment=gan_latent", "model/space=codes"], "latents"),
    ],
)
def test_a_key_or_choice_of_an_older_version_answers_with_its_new_name(words, new):
    with pytest.raises(UserError, match=rf"did you mean {new}\?"):
        check_arguments(CONF, words)


def test_a_recipe_is_for_models_with_its_options(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: 1)
    check_arguments(CONF, [MAIN, "recipe=gpu"])
    with pytest.raises(UserError, match=r"^recipe=gpu: it is for GANs; use trainer=gpu with this experiment\.$"):
        check_arguments(CONF, ["experiment=autoencoder", "recipe=gpu"])
    monkeypatch.setattr(devices, "gpus", lambda: 0)
    with pytest.raises(UserError, match="no GPU driver answers on this machine"):
        check_arguments(CONF, [MAIN, "recipe=gpu"])


@pytest.mark.parametrize("word", ["--experimental-rerun=job.pickle", "--exp=job.pickle"])
def test_a_pickled_job_is_refused(word):
    with pytest.raises(UserError, match="refused, it would run code from a file"):
        check_arguments(CONF, (MAIN, word))


def test_the_gpu_of_a_mac_needs_a_mac(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(UserError, match="trainer=mps: this machine is no Mac; use trainer=cpu or trainer=gpu"):
        check_arguments(CONF, (MAIN, "trainer=mps"))
