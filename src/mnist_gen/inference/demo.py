"""The demo's page: draw digits, turn one into another, and have a drawn digit read, reconstructed and translated.

It answers this machine only, serves no files, and sends nothing anywhere. The functions above `page` know no Gradio.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.utils import make_grid

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.errors import UserError
from mnist_gen.gan import GAN
from mnist_gen.inference import pictures
from mnist_gen.inference.sampling import interpolate
from mnist_gen.translation import Translation

DIRECTIONS = 5
REACH = 3.0  # of a slider along a direction, in standard deviations of latents
SAMPLES, PATHS, STEPS = 25, 3, 9
ZOOM = 4  # of an image's pixels
SIDE = 320  # pixels of the drawing area

CHOOSE_BRUSH = "() => setTimeout(() => document.querySelector('#pad button[title=Brush]')?.click(), 500)"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Models:
    """The demo's models: a conditional GAN, and what reads, reconstructs and translates a drawn digit."""

    gan: GAN
    classifier: Any  # with `probabilities`
    autoencoder: Autoencoder
    translator: Translation


def directions(gan: GAN, count: int = DIRECTIONS) -> Tensor:
    """The directions (count, latent_dim) in which a generator's first layer changes most (Shen & Zhou 2021)."""
    generator: Any = gan.averaged
    weights = (w for name, w in generator.named_parameters() if not name.startswith("label_vectors"))
    first = next((w for w in weights if w.dim() == 2 and w.shape[1] >= gan.latent_dim), None)
    if first is None:
        raise UserError(f"a {type(generator).__name__} has no layer from latents, along which the demo could move.")
    from_latents = first[:, : gan.latent_dim]
    return torch.linalg.eigh(from_latents.T @ from_latents).eigenvectors.flip(1).T[:count]


def samples(gan: GAN, digit: int, seed: int, moves: Sequence[float] = ()) -> Pixels:
    """Samples of a digit, each moved along the directions."""
    latents = gan.latents(SAMPLES, torch.Generator().manual_seed(seed))
    if any(moves):
        steps = torch.tensor(moves, dtype=torch.float32, device=gan.device)
        latents = latents + steps @ directions(gan, len(moves))
    return _picture(gan.generate(latents, torch.full((SAMPLES,), digit, device=gan.device)), 5)


def blend(gan: GAN, digit: int, to: int, seed: int, between: str) -> Pixels:
    """Paths from one digit to another."""
    return _picture(interpolate(gan, digit, to, STEPS, PATHS, between, seed).flatten(0, 1), STEPS)


def read(models: Models, drawn: Image.Image) -> tuple[dict[str, float], Pixels]:
    """Probabilities by digit; and what the networks saw, its reconstruction and its translation, side by side."""
    seen = pictures.digit_in(drawn)[None].to(models.gan.device)
    shares = models.classifier.probabilities(seen)[0].tolist()
    made = torch.cat([seen, models.autoencoder(seen), models.translator.translate(seen)])
    return {str(digit): share for digit, share in enumerate(shares)}, _picture(made, 3)


def _picture(images: Tensor, columns: int) -> Pixels:
    canvas = make_grid(images.clamp(0, 1), nrow=columns, padding=1, pad_value=0.3)[0]
    return (canvas * 255).byte().repeat_interleave(ZOOM, 0).repeat_interleave(ZOOM, 1).cpu().numpy()


def page(models: Models) -> Any:
    """The page, a `gradio.Blocks`."""
    import gradio as gr  # an extra; without analytics it makes no request by itself

    gan = models.gan
    with gr.Blocks(title="mnist_gen", analytics_enabled=False) as blocks:
        gr.Markdown("# mnist_gen\nEverything runs on this machine.")
        with gr.Tab("Draw"), gr.Row():
            with gr.Column():
                digit = gr.Radio([*range(10)], value=3, label="Digit", elem_id="digit")
                seed = gr.Slider(0, 100, value=0, step=1, label="Latents", elem_id="seed")
                names = [f"Direction {number + 1}" for number in range(DIRECTIONS)]
                moves = [gr.Slider(-REACH, REACH, value=0, step=0.1, label=name) for name in names]
            shown = _image(gr, samples(gan, 3, 0), "samples")
            _on_change(
                [digit, seed, *moves], lambda digit, seed, *moves: samples(gan, int(digit), int(seed), moves), shown
            )
        with gr.Tab("Blend"), gr.Row():
            with gr.Column():
                ends = [gr.Radio([*range(10)], value=value, label=name) for name, value in (("From", 1), ("To", 7))]
                seed = gr.Slider(0, 100, value=0, step=1, label="Latents")
            with gr.Column(scale=2):
                for between, title in (("labels", "The label changes:"), ("latents", "The latent changes too:")):
                    gr.Markdown(title)
                    path = _image(gr, blend(gan, 1, 7, 0, between), between)
                    _on_change(
                        [*ends, seed], lambda a, b, s, kind=between: blend(gan, int(a), int(b), int(s), kind), path
                    )
        with gr.Tab("Your digit") as tab, gr.Row():
            tab.select(None, js=CHOOSE_BRUSH)
            pad = gr.Sketchpad(
                canvas_size=(SIDE, SIDE), type="pil", label="Draw a digit", layers=False, transforms=(), buttons=[],
                elem_id="pad", height=SIDE + 60, width=SIDE,
                brush=gr.Brush(default_size=16, colors=["#000000"], color_mode="fixed"),
            )  # fmt: skip
            with gr.Column():
                why = gr.Markdown(elem_id="why")
                label = gr.Label(num_top_classes=3, label="Read as", elem_id="read")
                gr.Markdown("As the networks see it, reconstructed, translated:")
                seen = _image(gr, None, "seen")
            pad.change(
                lambda drawn: _answer(models, drawn),
                pad,
                [label, seen, why],
                show_progress="hidden",
                api_visibility="private",
            )
    return blocks


def _image(gr: Any, value: Pixels | None, name: str) -> Any:
    return gr.Image(value, show_label=False, format="png", interactive=False, buttons=[], elem_id=name)


def _on_change(inputs: Sequence[Any], function: Any, output: Any) -> None:
    for part in inputs:
        part.change(function, [*inputs], output, show_progress="hidden", api_visibility="private")


def _answer(models: Models, drawn: dict[str, Any] | None) -> tuple[dict[str, float] | None, Pixels | None, str]:
    """What the page shows for a drawing: `read`, or else why it shows nothing."""
    if drawn is None or drawn["composite"] is None:
        return None, None, ""
    try:
        return *read(models, drawn["composite"]), ""
    except UserError as error:  # nothing is drawn, or several digits
        return None, None, f"The drawing {error}"


def warm_up(models: Models) -> None:
    """Reads a stroke, so that the first drawing is answered as quickly as the others."""
    stroke = Image.new("L", (SIDE, SIDE), "white")
    ImageDraw.Draw(stroke).line([(120, 60), (200, 260)], fill="black", width=16)
    read(models, stroke)


def serve(models: Models, port: int) -> None:
    """Serves the page to this machine, until the command is stopped."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks itself whether it runs
    blocks = page(models)
    blocks.launch(
        server_name="127.0.0.1", server_port=port, share=False, quiet=True, allowed_paths=[],
        footer_links=[], enable_monitoring=False, run_history=False, ssr_mode=False, pwa=False, mcp_server=False,
        prevent_thread_lock=True,
    )  # fmt: skip
    warm_up(models)
    print(f"http://127.0.0.1:{port}   Ctrl-C ends it.", flush=True)
    blocks.block_thread()
