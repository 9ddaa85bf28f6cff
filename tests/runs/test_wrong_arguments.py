"""What mistakes on the command line are answered with."""

import pytest

from mnist_gen.errors import UserError
from mnist_gen.runs import machine
from mnist_gen.runs.command_line import check_arguments
from tests.conftest import CONF

MAIN = "experiment=cgan_embed20"

pytestmark = pytest.mark.usefixtures("typed")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("seed=3",), "choose an experiment, experiment=<name>; `python train.py` lists them."),
        (
            ("experiment=cgan",),
            "experiment=cgan: did you mean cgan_50_labels or cgan_best or cgan_embed20 or cgan_embed20_a",
        ),
        (
            ("experiment=cgan_embed",),
            "experiment=cgan_embed: did you mean cgan_embed20 or cgan_embed20_after or cgan_e",
        ),
        (("experiment=cgan_embde20",), "experiment=cgan_embde20: did you mean cgan_embed20 or cgan_embed65 or "),
        (("experiment=xyz",), "experiment=xyz: `python train.py` lists them."),
        ((MAIN, "model/loss=wgan"), "model/loss=wgan: choose one of bce, hinge, non_saturating, relativistic"),
        (
            (MAIN, "data=cifar"),
            "data=cifar: choose one of corrupted, fashion_mnist, ",
        ),
        ((MAIN, "data/rendering=slant"), "data/rendering=slant: the other choices have no data/rendering; leave it"),
        ((MAIN, "model.embeding_dim=3"), "model.embeding_dim: no such key; did you mean model.embedding_dim"),
        ((MAIN, "lr=3"), "lr: no such key; did you mean"),
        ((MAIN, "callbacks.early_stopping.patience=3"), "no such key; it belongs to callbacks/extra=early_stopping."),
        ((MAIN, "trainer.gradient_clip_val=1"), "Trainer need a plus: +trainer.gradient_clip_val."),
        ((MAIN, "logger=CSV"), "logger=CSV: did you mean csv?"),
        (
            (MAIN, "logger=csv,none"),
            "logger=csv,none: add -m for a sweep, or use brackets for a list, logger=[csv,none].",
        ),
        ((MAIN, "seed=range(3)"), "seed=range(3): add -m for a sweep."),
        (("task=sample", "digit=1,2"), "digit=1,2: use brackets for a list, digit=[1,2]"),
        (("task=predict", "images=a,b.png"), "quote a comma that belongs to the value, \"images='a,b.png'\"."),
        ((MAIN, "tags=a,b"), "tags=a,b: add -m for a sweep, or use brackets for a list, tags=[a,b]."),
        ((MAIN, "seed=abc"), "seed=abc: must be a whole number, like 0."),
        ((MAIN, "trainer.max_epoch=3"), "no such key; did you mean trainer.max_epochs or "),
        (("experiment=mimic_learned", "model/network=x"), "model/network=x: choose one of positions/grid, "),
        ((MAIN, "+debug=fast"), "+debug=fast: leave the plus out."),
        ((MAIN, "data=nope"), "files, kmnist, mnist, pairs, partly_labelled, rendered."),
        ((MAIN, "tags=try"), "tags=try: must be a list, like [a,b]."),
        ((MAIN, "recipe=null"), "recipe=null: Hydra takes no null here; use ~recipe."),
        ((MAIN, "logger=null"), "logger=null: Hydra takes no null here; use none."),
        ((MAIN, "-m", "seed=0,1", "hydra/launcher=jobli"), "hydra/launcher=jobli: did you mean joblib?"),
        ((MAIN, "-m", "seed=0,1", "--cfg", "job"), "-m: a sweep has no single configuration to show"),
        (("ckpt=cgan",), "ckpt=cgan: a model of the package cannot be trained or tested; name a run."),
        ((MAIN, "digit=3"), "digit: no such key"),
        ((MAIN, "model.embedding_dim=abc"), "model.embedding_dim=abc: must be a whole number, like 20"),
        ((MAIN, "model.embedding_dim=2.5"), "model.embedding_dim=2.5: must be a whole number"),
        (("-m", MAIN, "model.embedding_dim=5,abc"), "model.embedding_dim=abc: must be a whole number"),
        ((MAIN, "model.r1=big"), "model.r1=big: must be a finite number"),
        ((MAIN, "model.r1=nan"), "model.r1=nan: must be a finite number"),
        ((MAIN, "seed=abc"), "seed=abc: must be a whole number"),
        ((MAIN, "callbacks.metrics.cas=7"), "callbacks.metrics.cas=7: must be true or false"),
        ((MAIN, "callbacks.progress.shown=loss_d"), "callbacks.progress.shown=loss_d: must be a list"),
        (("task=test",), "task=test needs ckpt="),
        (("task=claims",), "task=claims needs sweep="),
        (("-m", "task=sample", f"ckpt={__file__}", "digit=1,2"), "task=sample: cannot be swept, because each job"),
        (("task=sample", "experiment=gan"), "experiment cannot be changed: the checkpoint has its own configuration"),
        (("task=export", "format=onnx", "out=a.pt2"), "out=a.pt2: must be a path that ends in .onnx."),
        (("task=export", "half=true"), "half=true: only format=safetensors stores weights in 16 bits"),
        (("task=sample", "out=null"), "out=null: name a file that ends in .png or .npz or .pt or .gif"),
        (("task=sample", "ckpt=null"), "ckpt=null: name a model of the package, a run's folder, or a checkpoint"),
        (
            ("task=demo", "out=x.png"),
            "out cannot be changed: the checkpoint has its own configuration; only demo, port",
        ),
        (("task=answer", "out=x.png"), "out=x.png: must be a path that ends in .html"),
        (("task=answer", "seed=1"), "seed cannot be changed: only answer, out, root can."),
        (("task=export", "format=pickle"), "format=pickle: must be one of onnx, torch_export, safetensors"),
        (("task=predict", "device=tpu"), "device=tpu: must be one of cpu, cuda, mps"),
        (
            ("task=sample", f"ckpt={__file__}", "out=a.jpg"),
            "out=a.jpg: must be a path that ends in .png or .npz or .pt or .gif",
        ),
        (("task=sample", "ckpt=nowhere.ckpt"), "ckpt=nowhere.ckpt: no such file"),
        (("ckpt=nowhere.ckpt",), "ckpt=nowhere.ckpt: no such file"),
        ((f"ckpt={__file__}",), "name a run's folder, or a file in its folder of checkpoints"),
        (("task=study",), "choose an experiment"),
        (("task=study", f"ckpt={__file__}"), "ckpt: name each model of a study by its part, such as gan.ckpt=<path>"),
        (
            ("task=train",),
            "task=train: choose one of answer, claims, demo, export, fit, predict, reconstruct, sample, study, te",
        ),
        ((MAIN, f"seed={'9' * 5000}"), "too long to be read"),
        ((MAIN, f"seed={'[' * 2000}{']' * 2000}"), "too long to be read"),
        (("-m", MAIN, "seed=range(0,1000000000000)"), "a sweep takes at most 10000 values"),
    ],
)
def test_wrong_arguments(monkeypatch, words, message):
    monkeypatch.setitem(machine.EXTRAS, "task=demo", ("demo", "json"))  # whether or not Gradio is installed
    with pytest.raises(UserError) as error:
        check_arguments(CONF, words)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
