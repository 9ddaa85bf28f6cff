"""What the demo's page shows, without and with a browser."""

import os
import re
import shutil
import subprocess
import sys
from multiprocessing import Pipe
from threading import Event, Thread

import numpy as np
import pytest
import torch
from PIL import Image

import mnist_gen
from mnist_gen.errors import UserError
from mnist_gen.inference import demo, page
from mnist_gen.runs import tasks
from tests.conftest import ROOT, composed, error_line, train_py
from tests.inference.conftest import build, drawing

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""


@pytest.fixture
def models(package):
    parts = (mnist_gen.load(name) for name in ("cgan", "classifier", "autoencoder", "outlines"))
    return demo.Models(*parts)


def test_samples_depend_on_digit_seed_and_moves(models):
    pictures = [
        demo.samples(models.gan, 3, 0),
        demo.samples(models.gan, 4, 0),
        demo.samples(models.gan, 3, 1),
        demo.samples(models.gan, 3, 0, [2.0, 0, 0, 0, 0]),
        demo.samples(models.gan, 3, 0, [0, 2.0, 0, 0, 0]),
    ]
    assert all(picture.dtype == np.uint8 and picture.shape == pictures[0].shape for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 5
    assert (demo.samples(models.gan, 3, 0, [0.0] * 5) == pictures[0]).all()
    assert (demo.samples(models.gan, 3, 0, [2, 0, 0, 0, 0]) == pictures[3]).all()  # as sliders send whole numbers


def test_directions_are_orthogonal_and_change_the_first_layer_most(models):
    found = demo.directions(models.gan, 32)
    assert torch.allclose(found @ found.T, torch.eye(32), atol=1e-5)
    weights = models.gan.averaged.decoder[0].weight[:, :32]
    changes = (found @ weights.T).norm(dim=1)
    assert (changes.diff() <= 1e-5).all()
    assert changes[0].item() == pytest.approx(torch.linalg.matrix_norm(weights, 2).item(), rel=1e-4)


def test_label_embeddings_are_no_directions(monkeypatch):
    gan = build("cgan", "model.embedding_dim=65")[0]
    assert demo.directions(gan, 2).shape == (2, 32)
    monkeypatch.setattr(gan.averaged, "decoder", torch.nn.Identity())
    with pytest.raises(UserError, match="a Generator has no layer from latents"):
        demo.directions(gan, 5)


def test_the_page_asks_for_what_it_shows():
    gradio = pytest.importorskip("gradio", reason="needs pip install -e '.[demo]'")
    asked = []
    blocks = page.page(gradio, lambda *question: asked.append(question))
    for event in blocks.fns.values():
        if event.targets[0][1] == "load":
            event.fn(*(part.value for part in event.inputs))
    assert asked == [
        ("samples", 3, 0, (0, 0, 0, 0, 0)), ("blend", 1, 7, 0, "labels"), ("blend", 1, 7, 0, "latents")
    ]  # fmt: skip


def test_models_answer_by_name(package):
    answers = demo.answers(composed("task=demo"))
    gan = mnist_gen.load("cgan")
    assert (answers["samples"](3, 0, (0, 0, 0, 0, 0)) == demo.samples(gan, 3, 0)).all()
    assert (answers["blend"](1, 7, 0, "latents") == demo.blend(gan, 1, 7, 0, "latents")).all()
    assert answers["answer"](None) == (None, None, "")


@pytest.fixture
def question(monkeypatch):
    """`question(functions)` is one end of a connection; at the other, a thread answers with these functions."""
    monkeypatch.setattr(page.signal, "signal", lambda *_: None)
    threads = []

    def connect(functions):
        here, there = Pipe()
        monkeypatch.setattr(page, "get_method", lambda name: functions)
        threads.append(Thread(target=page._answer_all, args=(there, None, "")))
        threads[-1].start()
        return here

    yield connect
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_questions_are_answered_until_the_page_ends(question):
    connection = question(lambda cfg: {"add": lambda one, other: one + other})
    assert connection.recv() is None  # the models are loaded
    for number in range(3):
        connection.send(("add", (number, 1)))
        assert connection.recv() == number + 1
    connection.close()


def test_a_question_that_fails_leaves_the_others_their_answers(question):
    def fail(error):
        raise error

    connection = question(lambda cfg: {"fail": fail, "double": lambda number: 2 * number})
    assert connection.recv() is None
    for error in (UserError("no layer."), RuntimeError("out of memory")):
        connection.send(("fail", (error,)))
        answer = connection.recv()
        assert isinstance(answer, UserError)
        assert str(answer) == str(error)
    connection.send(("double", (2,)))
    assert connection.recv() == 4
    connection.close()


@pytest.mark.parametrize("error", [UserError("ckpt=x: no such file."), PermissionError("ckpt=x: no such file.")])
def test_models_that_cannot_be_loaded_are_said(question, error):
    def refuse(cfg):
        raise error

    answer = question(refuse).recv()
    assert isinstance(answer, UserError)
    assert str(answer) == "ckpt=x: no such file."


def test_a_page_that_ends_while_models_load_stops_them(question):
    opened = Event()
    connection = question(lambda cfg: opened.wait(timeout=10) and {})
    connection.close()
    opened.set()


def twice(cfg):
    """Stands for `demo.answers` in the other process."""
    if cfg == "refused":
        raise UserError("ckpt=x: no such file.")
    return {"twice": lambda number: 2 * number, "stop": lambda: os._exit(3)}


def test_another_process_answers(monkeypatch):
    monkeypatch.setattr(page, "ANSWERS", "tests.inference.test_demo.twice")
    models = page.ModelsProcess("accepted")
    early = Thread(target=lambda: answers.append(models.ask("twice", 1)))
    answers = []
    early.start()  # waits until the models are loaded
    models.wait()
    early.join(timeout=10)
    assert answers == [2]
    assert models.ask("twice", 21) == 42
    for _ in range(2):
        with pytest.raises(UserError, match="the demo's models have stopped"):
            models.ask("stop")
    with pytest.raises(UserError, match="ckpt=x: no such file"):
        page.ModelsProcess("refused").wait()


def test_the_demo_imports_no_torch():
    module = tasks.function_of("demo").rpartition(".")[0]
    script = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_blends_are_paths(models):
    labels, latents = (demo.blend(models.gan, 1, 7, 0, between) for between in ("labels", "latents"))
    assert labels.shape == latents.shape
    assert not (labels == latents).all()


def test_a_drawing_is_read_reconstructed_and_translated(models, tmp_path):
    with Image.open(drawing(tmp_path / "seven.png")) as image:
        shares, picture = demo.read(models, image)
    assert list(shares) == list("0123456789")
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert picture.shape[1] > 2.5 * picture.shape[0]
    with pytest.raises(UserError):
        demo.read(models, Image.new("RGBA", (100, 100)))


def test_an_unread_drawing_is_answered_with_the_reason(models):
    assert demo.answer(models, None) == (None, None, "")
    *nothing, why = demo.answer(models, Image.new("RGBA", (100, 100)))
    assert nothing == [None, None]
    assert why == "The drawing shows no digit: there is too little contrast."
    two = Image.new("L", (100, 100), 255)
    two.paste(0, (20, 20, 30, 80))
    two.paste(0, (70, 20, 80, 80))
    *nothing, why = demo.answer(models, two)
    assert nothing == [None, None]
    assert why == "The drawing shows several digits; keep only one."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demo.classifier=cgan"], "demo.classifier=cgan is a checkpoint of GAN."),
        (["demo.translator=autoencoder"], "demo.translator=autoencoder is a checkpoint of Autoencoder."),
        (
            ["demo.autoencoder=nothing"],
            "nothing: no such file, and no model in the package; it has autoencoder, cgan, ",
        ),
        (["ckpt=autoencoder"], "ckpt=autoencoder is a checkpoint of Autoencoder; drawing digits needs a GAN."),
        (["ckpt=plain_gan"], "ckpt=plain_gan: this GAN was trained without labels; the demo needs one with digits."),
    ],
)
def test_models_of_other_kinds_are_refused(package, words, message):
    with pytest.raises(UserError) as error:
        demo.loaded(composed("task=demo", *words))
    assert str(error.value).startswith(message)


@pytest.mark.slow
def test_a_demo_that_cannot_start_is_one_line():
    pytest.importorskip("gradio", reason="needs pip install -e '.[demo]'")
    assert error_line(train_py("task=demo", "port=7898", "demo.classifier=cgan")) == (
        "error: demo.classifier=cgan is a checkpoint of GAN."
    )


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
def test_in_a_browser_a_click_changes_the_picture_and_a_drawn_7_is_read_as_7():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    pytest.importorskip("gradio", reason="needs pip install -e '.[demo]'")
    command = [sys.executable, str(ROOT / "train.py"), "task=demo", "port=7899"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, playwright.sync_playwright() as driver:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("http://127.0.0.1:7899 ")
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1200, "height": 900})
            asked = []
            tab.on("request", lambda request: asked.append(request.url))
            tab.goto("http://127.0.0.1:7899")
            before = tab.locator("#samples img").get_attribute("src")
            tab.locator("#digit label").nth(7).click()
            tab.wait_for_function("src => document.querySelector('#samples img').src != src", arg=before)
            tab.get_by_role("tab", name="Your digit").click()
            tab.locator("#pad button[title=Erase]").wait_for()
            tab.wait_for_timeout(2000)  # the brush is chosen
            pad = tab.locator("#pad canvas").last.bounding_box()
            across, down = (lambda x: pad["x"] + x * pad["width"]), (lambda y: pad["y"] + y * pad["height"])
            tab.mouse.move(across(0.4), down(0.35))
            tab.mouse.down()
            tab.mouse.move(across(0.6), down(0.35), steps=10)
            tab.mouse.move(across(0.48), down(0.75), steps=10)
            tab.mouse.up()
            tab.wait_for_function("document.querySelector('#read').innerText.includes('%')")
            assert tab.locator("#read h2").inner_text() == "7"
            assert all(re.match(r"(http://127\.0\.0\.1:7899/|data:|blob:)", url) for url in asked)
            files = ("/etc/passwd", str(ROOT / "README.md"), "README.md")
            answers = [tab.request.get(f"http://127.0.0.1:7899/gradio_api/file={path}").status for path in files]
            assert answers == [403, 403, 403]
        finally:
            server.terminate()
