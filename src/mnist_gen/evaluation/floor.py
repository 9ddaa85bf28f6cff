"""CAS of real images, kept between runs: it depends on no model, and takes a third of each test to measure."""

import hashlib
from contextlib import suppress
from importlib.resources import files as resources
from pathlib import Path

import torch

from mnist_gen.data.mnist import ImageSet, to_images
from mnist_gen.evaluation import fidelity
from mnist_gen.system import files


def cas_of_real_images(train: ImageSet, test: ImageSet, cache: Path) -> float:
    """The score of a classifier trained on the training images, from a file in `cache` if it was measured before.

    The file is for these images, this version of the project and of torch, and the same device and threads, so that its
    value is what a new measurement would give.
    """
    path = cache / "floor" / f"cas_{_digest(train, test)}.json"
    kept = files.read_json(path)
    if isinstance(kept, float) and 0 <= kept <= 1:
        return kept
    score = fidelity.cas(to_images(train.images), train.labels, to_images(test.images), test.labels)
    with suppress(OSError):  # a full disk: the next test measures again
        files.write_now(path, str(score))
    return score


def _digest(train: ImageSet, test: ImageSet) -> str:
    """Of all that the score depends on."""
    device = train.images.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    digest = hashlib.sha256(f"{torch.__version__} {name} {torch.get_num_threads()}".encode())
    for values in (train.images, train.labels, test.images, test.labels):
        digest.update(values.cpu().numpy().tobytes())
    for source in sorted(Path(str(resources("mnist_gen"))).rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
