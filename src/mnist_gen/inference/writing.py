"""Images as a picture, as arrays or as a film."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from mnist_gen.errors import UserError
from mnist_gen.runs import plots
from mnist_gen.system import files

ZOOM = 4  # of a film's pixels
FRAME = 120  # milliseconds
IN_A_ROW = 10  # images of one frame


def write(
    out: Path,
    arrays: Mapping[str, Tensor],
    picture: Callable[[], Figure],
    frames: Tensor | None = None,
    names: Sequence[str] = (),
) -> None:
    """Writes tensors as `.npz` or `.pt`, a picture of them as `.png`, or a film of frames (F, N, 1, H, W) as `.gif`.

    `names`, of files, go with the tensors.
    """
    content = io.BytesIO()
    arrays = {name: values.cpu() for name, values in arrays.items()}
    if out.suffix == ".npz":
        plain: dict[str, Any] = {name: values.numpy() for name, values in arrays.items()}
        if names:
            plain["names"] = np.array(names)
        np.savez_compressed(content, **plain)
    elif out.suffix == ".pt":
        torch.save({**arrays, **({"names": [*names]} if names else {})}, content)
    elif out.suffix == ".gif":
        assert frames is not None
        first, *others = map(_frame, frames)
        first.save(content, "GIF", save_all=True, append_images=others, duration=FRAME, loop=0)
    else:
        content.write(plots.png(picture()))
    with writable(out):
        files.write_now(out, content.getvalue())


def _frame(images: Tensor) -> Image.Image:
    """Images (N, 1, H, W) in [0, 1] in rows, enlarged."""
    canvas = make_grid(images.clamp(0, 1), nrow=IN_A_ROW, padding=1, pad_value=0.3)[0]
    frame = Image.fromarray((canvas * 255).byte().cpu().numpy())
    return frame.resize((frame.width * ZOOM, frame.height * ZOOM), Image.Resampling.NEAREST)


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Inside, a failed write is the user's error."""
    try:
        yield
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror}).") from None
