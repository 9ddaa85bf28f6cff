"""The package as a stranger installs it: built, unpacked elsewhere, and run from an empty folder."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT, TINY, error_line


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of the installed wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def mnist_gen(installed, *words, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "MNIST_GEN_ROOT"}
    environment |= {
        "PYTHONPATH": str(installed),
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    command = [str(installed / "bin/mnist-gen"), *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_it_runs_in_an_empty_folder(installed, tmp_path):
    done = mnist_gen(installed, "experiment=cgan_embed20", *TINY, f"data.root={ROOT / 'data'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs/cgan_embed20").iterdir()
    assert (run / "metrics.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}


@pytest.mark.slow
def test_it_lists_its_experiments(installed, tmp_path):
    done = mnist_gen(installed, cwd=tmp_path)
    assert "cgan_embed20" in done.stdout
    assert done.returncode == 0


@pytest.mark.slow
def test_it_says_where_to_put_mnist_if_it_cannot_be_downloaded(installed, tmp_path):
    line = error_line(mnist_gen(installed, "experiment=cgan_embed20", *TINY, cwd=tmp_path))
    assert "data/MNIST/raw/train-images-idx3-ubyte.gz is missing and could not be downloaded" in line
    assert line.endswith("put the file there by hand, or name a folder that has it, data.root=<folder>.")
