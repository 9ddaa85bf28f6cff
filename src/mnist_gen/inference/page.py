"""The demo's page: draw digits, turn one into another, and have a drawn digit read, reconstructed and translated.

It answers this machine only, serves no files, and sends nothing anywhere. It imports no torch: another process loads
the models while this one opens the page.
"""

import logging
import signal
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_method
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mnist_gen.errors import UserError
from mnist_gen.runs import limits
from mnist_gen.runs.config import one_line, plain

ANSWERS = "mnist_gen.inference.demo.answers"  # by name, because it imports torch
DIRECTIONS = 5
REACH = 3.0  # of a slider along a direction, in standard deviations of latents
SIDE = 320  # pixels of the drawing area

CHOOSE_BRUSH = "() => setTimeout(() => document.querySelector('#pad button[title=Brush]')?.click(), 500)"

Ask = Callable[..., Any]  # (name, *arguments) -> what that function of `demo.answers` returns


def demo(cfg: DictConfig) -> None:
    """Serves the page to this machine, until the command is stopped."""
    limits.check(plain(cfg))
    models = ModelsProcess(cfg)  # loads them while Gradio is imported
    import gradio as gr  # an extra; without analytics it makes no request by itself

    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks itself whether it runs

    def ask(*question: Any) -> Any:
        try:
            return models.ask(*question)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    blocks = page(gr, ask)
    try:
        blocks.launch(
            server_name="127.0.0.1", server_port=cfg.port, share=False, quiet=True, allowed_paths=[],
            footer_links=[], enable_monitoring=False, run_history=False, ssr_mode=False, pwa=False, mcp_server=False,
            prevent_thread_lock=True,
        )  # fmt: skip
    except OSError:
        raise UserError(f"port={cfg.port}: another program uses it; choose another.") from None
    print(f"http://127.0.0.1:{cfg.port}   Ctrl-C ends it. Pictures come when the models are loaded.", flush=True)
    models.wait()
    blocks.block_thread()


class ModelsProcess:
    """The process that holds the models. It answers one question after another."""

    def __init__(self, cfg: DictConfig) -> None:
        context = get_context("spawn")
        self._connection, other = context.Pipe()
        self._lock = Lock()
        self._lock.acquire()  # a page opened early waits until the models are loaded
        context.Process(target=_answer_all, args=(other, cfg, ANSWERS), daemon=True).start()
        other.close()

    def wait(self) -> None:
        """Returns when the models are loaded.

        Raises:
            UserError: they cannot be.
        """
        try:
            self._received()
        finally:
            self._lock.release()

    def ask(self, name: str, *arguments: Any) -> Any:
        """What a function of `demo.answers` returns."""
        with self._lock:
            with suppress(ConnectionError):  # it has stopped, which `_received` says
                self._connection.send((name, arguments))
            return self._received()

    def _received(self) -> Any:
        try:
            found = self._connection.recv()
        except (EOFError, ConnectionError):
            raise UserError("the demo's models have stopped, see above; start it again.") from None
        if isinstance(found, UserError):
            raise found
        return found


def _answer_all(connection: Connection, cfg: DictConfig, answers: str) -> None:
    """Loads the models, and answers until the page's process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the page's process
    with suppress(EOFError, ConnectionError):
        try:
            functions = get_method(answers)(cfg)
        except (UserError, OSError, HydraException, OmegaConfBaseException) as error:
            connection.send(UserError(one_line(error)))
            return
        connection.send(None)
        while True:
            name, arguments = connection.recv()
            connection.send(_answered(functions[name], arguments))


def _answered(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """What a function returns, or a UserError in its place."""
    try:
        return function(*arguments)
    except UserError as error:
        return error
    except Exception as error:  # the next question may have an answer
        traceback.print_exc()
        return UserError(one_line(error))


def page(gr: Any, ask: Ask) -> Any:
    """The page, a `gradio.Blocks`; `gr` is Gradio."""
    with gr.Blocks(title="mnist_gen", analytics_enabled=False) as blocks:
        gr.Markdown("# mnist_gen\nEverything runs on this machine.")
        with gr.Tab("Draw"), gr.Row():
            with gr.Column():
                digit = gr.Radio([*range(10)], value=3, label="Digit", elem_id="digit")
                seed = gr.Slider(0, 100, value=0, step=1, label="Latents", elem_id="seed")
                names = [f"Direction {number + 1}" for number in range(DIRECTIONS)]
                moves = [gr.Slider(-REACH, REACH, value=0, step=0.1, label=name) for name in names]
            _show(
                blocks,
                lambda digit, seed, *moves: ask("samples", int(digit), int(seed), moves),
                [digit, seed, *moves],
                _image(gr, "samples"),
            )
        with gr.Tab("Blend"), gr.Row():
            with gr.Column():
                ends = [gr.Radio([*range(10)], value=value, label=name) for name, value in (("From", 1), ("To", 7))]
                seed = gr.Slider(0, 100, value=0, step=1, label="Latents")
            with gr.Column(scale=2):
                for between, title in (("labels", "The label changes:"), ("latents", "The latent changes too:")):
                    gr.Markdown(title)
                    _show(
                        blocks,
                        lambda a, b, seed, kind=between: ask("blend", int(a), int(b), int(seed), kind),
                        [*ends, seed],
                        _image(gr, between),
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
                seen = _image(gr, "seen")
            pad.change(
                lambda drawn: ask("answer", None if drawn is None else drawn["composite"]),
                pad,
                [label, seen, why],
                show_progress="hidden",
                api_visibility="private",
            )
    return blocks


def _image(gr: Any, name: str) -> Any:
    return gr.Image(show_label=False, format="png", interactive=False, buttons=[], elem_id=name)


def _show(blocks: Any, function: Callable[..., Any], inputs: Sequence[Any], output: Any) -> None:
    """Shows what a function makes of the inputs, when the page opens and whenever one of them changes."""
    for happens in (blocks.load, *(part.change for part in inputs)):
        happens(function, [*inputs], output, show_progress="hidden", api_visibility="private")
