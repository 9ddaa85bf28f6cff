"""Replayed training steps equal eager ones, to the last bit."""

import json
import os
import signal
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from mnist_gen.evaluation import fidelity
from mnist_gen.gan import GAN
from mnist_gen.training import capture
from mnist_gen.training.capture import Replay
from tests.autoencoder.conftest import TINY_RUN as FEW
from tests.conftest import TINY, kept, same_run, same_weights
from tests.interruptions import Interrupted, listening
from tests.training.conftest import SCORER, TARGET
from tests.training.recorded import RecordedGraph
from tests.transfer.conftest import SEMI_RUN as SEMI
from tests.translation.conftest import TINY_RUN as PAIRS

LATENTS = "pretrained.overrides=['trainer.max_epochs=1','trainer.limit_train_batches=2','data.batch_size=8']"
RUNS = {
    "gan": ("cgan_embed20", *TINY),
    "latents": ("gan_latent", *TINY[2:], LATENTS),
    "autoencoder": ("autoencoder", *FEW),
    "clipped": ("autoencoder", *FEW, "+trainer.gradient_clip_val=0.01"),
    "classifier": ("scorer", *SCORER),
    "mimicry": ("mimic_learned", *FEW),
    "semi": ("transfer_semi", *SEMI),
    "regression": ("translate_l1_paired", *PAIRS, TARGET),
    "cycle": ("translate_cyclegan_unpaired", *PAIRS, TARGET),
}


class Unable(RecordedGraph):
    """A device that cannot capture anything."""

    def capture(self, step):
        raise RuntimeError("operation not permitted")


@pytest.fixture
def on(monkeypatch):
    """`on(Graph)` makes runs capture their steps as such graphs; returns those that were made."""

    def use(kind):
        graphs = []

        def make(_):
            graphs.append(kind())
            return graphs[-1]

        monkeypatch.setattr(capture, "graph_of", make)
        return graphs

    return use


@pytest.mark.parametrize("name", RUNS)
def test_replayed_runs_equal_eager_ones(fit, tmp_path, on, name):
    experiment, *words = RUNS[name]
    for place, kind in (("eager", Unable), ("replayed", RecordedGraph)):
        graphs = on(kind)
        fit(tmp_path / place, f"experiment={experiment}", *words, tiny=False)
    trained = kept(tmp_path / "replayed")["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"]
    assert graphs[-1].replays == trained - capture.WARM_UP > 0
    assert kept(tmp_path / "eager")["global_step"] == kept(tmp_path / "replayed")["global_step"]
    assert same_weights(tmp_path / "eager", tmp_path / "replayed")
    for record in ("metrics", "history"):
        texts = [(tmp_path / place / f"{record}.json").read_text() for place in ("eager", "replayed")]
        eager, replayed = (json.loads(text) for text in texts)
        assert eager.get("metrics", eager) == replayed.get("metrics", replayed)


@pytest.fixture
def stopped(monkeypatch):
    """`with stopped(count):` the run inside gets Ctrl-C when it starts its next batch after so many."""

    @contextmanager
    def arrange(count):
        start = GAN.on_train_batch_start

        def press(model, *batch):
            start(model, *batch)
            if model.global_step == 2 * count:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(GAN, "on_train_batch_start", press)
        with listening(), pytest.raises(Interrupted):
            yield
        monkeypatch.setattr(GAN, "on_train_batch_start", start)

    return arrange


@pytest.mark.parametrize("batches", [2, 7])
def test_a_replayed_run_resumes_exactly(fit, tmp_path, on, stopped, batches):
    words = ("experiment=cgan_embed20", "trainer.max_epochs=4")
    graphs = on(RecordedGraph)
    fit(tmp_path / "whole", *words)
    with stopped(batches - 1):
        fit(tmp_path / "parts", *words)
    fit(tmp_path / "parts", f"ckpt={tmp_path / 'parts/checkpoints/last.ckpt'}")
    assert [graph.replays for graph in graphs] == [9, max(0, batches - 3), 12 - batches - 3]
    same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_replayed_run_goes_on_without_replays(fit, tmp_path, on, stopped):
    on(RecordedGraph)
    with stopped(4):
        fit(tmp_path, "experiment=cgan_embed20")
    saved = kept(tmp_path)
    groups = [group for state in saved["optimizer_states"] for group in state["param_groups"]]
    assert all(isinstance(group["lr"], float) and group["capturable"] is False for group in groups)
    assert all(isinstance(rate, float) for schedule in saved["lr_schedulers"] for rate in schedule["_last_lr"])
    fit(tmp_path, f"ckpt={tmp_path / 'checkpoints/last.ckpt'}", "trainer.capture=false")
    assert kept(tmp_path)["global_step"] == 12


def test_what_waits_for_the_device_runs_eagerly(fit, tmp_path, on, monkeypatch, caplog):
    step = GAN.training_step
    monkeypatch.setattr(GAN, "training_step", lambda *args: (step(*args), torch.ones(()).item())[0])
    fit(tmp_path / "without", "experiment=cgan_embed20", "trainer.capture=false")
    graphs = on(RecordedGraph)
    fit(tmp_path / "with", "experiment=cgan_embed20")
    assert graphs[0].replays == 0
    assert [record.message for record in caplog.records if record.name == capture.__name__] == [
        "The step is not replayed but runs operation by operation: "
        "aten._local_scalar_dense.default is not permitted when a stream is capturing"
    ]
    assert kept(tmp_path / "with")["global_step"] == kept(tmp_path / "without")["global_step"] == 12


def test_a_schedule_of_momentum_runs_eagerly(fit, tmp_path, on, monkeypatch, caplog):
    cycled = partial(torch.optim.lr_scheduler.OneCycleLR.__init__, base_momentum=0.8)
    monkeypatch.setattr(
        torch.optim.lr_scheduler.OneCycleLR,
        "__init__",
        lambda *args, **options: cycled(*args, **options | {"cycle_momentum": True}),
    )
    graphs = on(RecordedGraph)
    fit(tmp_path, "experiment=scorer", *SCORER, tiny=False)
    assert graphs[0].replays == 0
    assert [record.message for record in caplog.records if record.name == capture.__name__] == [
        "The step is not replayed but runs operation by operation: a schedule changes more than the learning rate"
    ]


def test_inputs_of_another_shape_run_eagerly():
    replay = Replay(RecordedGraph())
    total = torch.zeros(())
    sums = []
    for count in (2, 2, 2, 2, 3, 2):
        values = torch.full((count,), float(len(sums)))
        result = replay(lambda values=values: total.add_(values.sum()).clone(), [values])
        sums.append(result.item())
    assert sums == [0, 2, 6, 12, 24, 34]
    assert replay.graph.replays == 2


def test_a_replayed_probe_scores_as_an_eager_one(on):
    images, labels = torch.rand(600, 1, 32, 32), torch.arange(600) % 10
    scores = []
    for kind in (Unable, RecordedGraph):
        graphs = on(kind)
        scores.append(fidelity.cas(images, labels, images, labels))
    assert graphs[0].replays == 18 - capture.WARM_UP
    assert scores[0] == scores[1]
