"""What the demo's page shows, without and with a browser."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import mnist_gen
from mnist_gen.errors import UserError
from mnist_gen.inference import demo
from tests.conftest import ROOT
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
        demo.directions(gan)


def test_the_page_is_built_from_the_models(models):
    gradio = pytest.importorskip("gradio", reason="needs pip install -e '.[demo]'")
    assert isinstance(demo.page(models), gradio.Blocks)


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
    demo.warm_up(models)  # its stroke is one that `read` accepts
    with pytest.raises(UserError):
        demo.read(models, Image.new("RGBA", (100, 100)))


def test_an_unread_drawing_is_answered_with_the_reason(models):
    assert demo._answer(models, None) == (None, None, "")
    *nothing, why = demo._answer(models, {"composite": Image.new("RGBA", (100, 100))})
    assert nothing == [None, None]
    assert why == "The drawing shows no digit: there is too little contrast."
    two = Image.new("L", (100, 100), 255)
    two.paste(0, (20, 20, 30, 80))
    two.paste(0, (70, 20, 80, 80))
    *nothing, why = demo._answer(models, {"composite": two})
    assert nothing == [None, None]
    assert why == "The drawing shows several digits; keep only one."


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
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            asked = []
            page.on("request", lambda request: asked.append(request.url))
            page.goto("http://127.0.0.1:7899")
            before = page.locator("#samples img").get_attribute("src")
            page.locator("#digit label").nth(7).click()
            page.wait_for_function("src => document.querySelector('#samples img').src != src", arg=before)
            page.get_by_role("tab", name="Your digit").click()
            page.locator("#pad button[title=Erase]").wait_for()
            page.wait_for_timeout(2000)  # the brush is chosen
            pad = page.locator("#pad canvas").last.bounding_box()
            across, down = (lambda x: pad["x"] + x * pad["width"]), (lambda y: pad["y"] + y * pad["height"])
            page.mouse.move(across(0.4), down(0.35))
            page.mouse.down()
            page.mouse.move(across(0.6), down(0.35), steps=10)
            page.mouse.move(across(0.48), down(0.75), steps=10)
            page.mouse.up()
            page.wait_for_function("document.querySelector('#read').innerText.includes('%')")
            assert page.locator("#read h2").inner_text() == "7"
            assert all(re.match(r"(http://127\.0\.0\.1:7899/|data:|blob:)", url) for url in asked)
            files = ("/etc/passwd", str(ROOT / "README.md"), "README.md")
            answers = [page.request.get(f"http://127.0.0.1:7899/gradio_api/file={path}").status for path in files]
            assert answers == [403, 403, 403]
        finally:
            server.terminate()
