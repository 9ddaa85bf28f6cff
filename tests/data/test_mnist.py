import gzip
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch

from mnist_gen.data import mnist
from mnist_gen.data.mnist import ImageData, to_images, to_signed, to_unit
from mnist_gen.errors import UserError
from tests.conftest import ROOT


def tiny(tiny_data, tmp_path, **options):
    module = ImageData("MNIST", str(tiny_data), str(tmp_path / "cache"), **{"batch_size": 16, **options})
    module.prepare_data()
    module.setup()
    return module


def test_images_are_scaled_and_padded_with_zeros():
    raw = torch.full((2, 28, 28), 255, dtype=torch.uint8)
    images = to_images(raw)
    assert images.shape == (2, 1, 32, 32)
    assert images[:, :, 2:-2, 2:-2].eq(1).all()
    assert images.sum() == 2 * 28 * 28
    assert to_signed(images).aminmax() == (-1, 1)
    assert torch.equal(to_unit(to_signed(images)), images)


def test_the_real_split(real):
    images, labels = real["train"]
    assert len(images) == 55_000
    assert len(real["test"][0]) == 10_000
    # the student report's 50 labels come first
    assert torch.bincount(labels[:50], minlength=10).tolist() == [4, 7, 4, 7, 4, 4, 5, 4, 4, 7]


def test_split_is_fixed_and_keeps_the_first_images_for_training(tiny_data, tmp_path):
    module = tiny(tiny_data, tmp_path)
    assert (len(module.train), len(module.val), len(module.test)) == (240, 60, 100)
    everything = {image.numpy().tobytes() for image in torch.cat([module.train.images, module.val.images])}
    assert len(everything) == 300
    other_seed = tiny(tiny_data, tmp_path, seed=5)
    assert torch.equal(other_seed.val.images, module.val.images)
    assert torch.equal(other_seed.train.images[:100], module.train.images[:100])


def test_order_depends_on_seed_and_epoch_only(tiny_data, tmp_path):
    def order(seed, epoch):
        loader = tiny(tiny_data, tmp_path, seed=seed).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return torch.cat([images.flatten(1)[:, 300] for images, _ in loader]).tolist()

    torch.manual_seed(0)
    first = order(0, 0)
    torch.manual_seed(1)
    assert order(0, 0) == first
    assert order(0, 1) != first
    assert order(1, 0) != first


def test_processes_share_an_epoch(tiny_data, tmp_path):
    module = tiny(tiny_data, tmp_path)
    seen = []
    for rank in (0, 1):
        module.trainer = SimpleNamespace(world_size=2, global_rank=rank)
        loader = module.train_dataloader()
        loader.sampler.set_epoch(3)
        seen += [image.numpy().tobytes() for images, _ in loader for image in images]
    assert len(seen) == len(set(seen)) == 2 * (120 // 16) * 16


def test_a_resumed_loader_skips_the_served_batches(tiny_data, tmp_path):
    module = tiny(tiny_data, tmp_path)
    whole = [labels.tolist() for _, labels in module.train_dataloader()]
    module.load_state_dict({"served": 4})
    resumed = module.train_dataloader()
    assert whole[:4] + [labels.tolist() for _, labels in resumed] == whole
    assert [labels.tolist() for _, labels in resumed] == whole  # the next epoch is complete again


def test_a_corrupt_file_is_reported_with_a_remedy(tiny_data, tmp_path):
    path = tiny_data / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte.gz is corrupt .*`git checkout --"):
        tiny(tiny_data, tmp_path)


def test_a_missing_file_that_cannot_be_downloaded(tiny_data, tmp_path, monkeypatch):
    (tiny_data / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    monkeypatch.setattr(mnist.DATASETS["MNIST"], "mirrors", ["file:///nowhere/"])
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte.gz is missing and could not be downloaded"):
        tiny(tiny_data, tmp_path)
    assert list((tiny_data / "MNIST/raw").glob("tmp*")) == []


def test_a_missing_file_is_downloaded_and_verified(tiny_data, tmp_path, monkeypatch):
    path = tiny_data / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    path.rename(tmp_path / path.name)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(mnist.DATASETS["MNIST"], "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        assert len(tiny(tiny_data, tmp_path).test) == 100
        server.shutdown()
    assert path.is_file()


def test_damaged_cache_is_unpacked_again(tiny_data, tmp_path):
    tiny(tiny_data, tmp_path)
    unpacked = tmp_path / "cache/MNIST/raw/train-labels-idx1-ubyte"
    whole = unpacked.read_bytes()
    for damage in (whole[:-1], whole[:-1] + b"\x63"):
        unpacked.write_bytes(damage)
        tiny(tiny_data, tmp_path)
        assert unpacked.read_bytes() == whole
    assert gzip.decompress((tiny_data / "MNIST/raw/train-labels-idx1-ubyte.gz").read_bytes()) == whole


def test_a_cache_that_is_not_writable(tiny_data, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written .* data.cache=<folder>"):
        tiny(tiny_data, tmp_path)


def test_tracked_files_are_only_read(real):
    raw = ROOT / "data/MNIST/raw"
    assert {path.suffix for path in raw.iterdir()} == {".gz"}


@pytest.mark.parametrize("option", ["batch_size", "train_images"])
def test_invalid_sizes(tiny_data, tmp_path, option):
    with pytest.raises(UserError, match=f"data.{option}=241 is larger than the training set .240 images"):
        tiny(tiny_data, tmp_path, **{option: 241})


def test_fewer_training_images_are_repeated(tiny_data, tmp_path):
    all_of_them, few = tiny(tiny_data, tmp_path), tiny(tiny_data, tmp_path, train_images=100)
    assert torch.equal(few.train.images, all_of_them.train.images[:100])
    seen = torch.cat([images for images, _ in few.train_dataloader()])
    assert len(seen) == len(torch.cat([images for images, _ in all_of_them.train_dataloader()])) == 240
    assert len(seen.flatten(1).unique(dim=0)) == 100
    assert torch.equal(few.val.images, all_of_them.val.images)


def test_unknown_data_set():
    with pytest.raises(UserError, match="data.dataset=CIFAR: choose one of MNIST, FashionMNIST, KMNIST"):
        ImageData("CIFAR", ".", ".", 8)
