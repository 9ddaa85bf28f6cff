"""Fuzzed overrides over five experiments: Hypothesis chooses keys and values, and each command is run in small."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as some
from omegaconf import OmegaConf

from benchmarks.outcome import Outcome
from benchmarks.small import CONF, EXPECTED, HangError, composed, limited, run_task, use_small_images
from mnist_gen.errors import UserError
from mnist_gen.runs import limits
from mnist_gen.runs.command_line import check_arguments
from mnist_gen.runs.config import flat

EXPERIMENTS = {  # and what makes each small
    "cgan_embed20": (
        *("model.generator.decoder.channels=4", "model.discriminator.channels=2", "data.batch_size=8"),
        *("callbacks.metrics.val_samples=40", "callbacks.metrics.test_samples=40", "callbacks.metrics.cas=false"),
        "callbacks.confusion.samples=20",
    ),
    "autoencoder_wide": ("model.encoder.channels=4", "model.decoder.channels=4", "data.batch_size=8"),
    "transfer_mlp_scratch": ("data.labels=50", "data.watched=30", "data.labels_seed=0", "data.folds=0"),
    "transformer_classifier": ("model.network.dim=8", "model.network.hidden=8", "data.batch_size=8"),
    "mimic_learned": ("model.network.dim=8", "model.network.hidden=8", "data.batch_size=8"),
}
SMALL = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "data.eval_batch_size=50")
PATHS = ("root", "data.root", "data.cache", "data.path", "ckpt", "pretrained.folder")  # these leave the small world
TRIES = 300

numbers = some.one_of(
    some.integers(-5, 100), some.integers(), some.floats(-3, 3), some.floats(), some.just(10**30), some.just(0)
)
plain = some.one_of(
    numbers, some.booleans(), some.none(), some.text(max_size=8), some.sampled_from(["é", "${seed}", "😀"])
)
values = some.one_of(
    numbers, plain, some.lists(plain, max_size=3), some.dictionaries(some.sampled_from("ab"), plain, max_size=2)
)


def fuzzed_overrides(place: Path) -> Iterator[Outcome]:
    """Each command ends well or in one line, and no value outside its key's declared range is taken."""
    places = use_small_images(place / "data")
    keys = {name: _keys(name, place) for name in EXPERIMENTS}
    outcome = Outcome("fuzzed overrides: a result, or one line")
    refused = Outcome("fuzzed overrides: values outside a key's range are refused")
    for name in EXPERIMENTS:
        _try_some(name, keys[name], place / "run", places, outcome, refused)
    yield outcome
    yield refused


def _try_some(
    name: str, keys: list[str], folder: Path, places: tuple[str, str], outcome: Outcome, refused: Outcome
) -> None:
    """An experiment's share of the tries."""

    @seed(0)
    @settings(
        max_examples=TRIES // len(EXPERIMENTS),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(some.sampled_from(keys), values, some.sampled_from(("", "", "+", "++")))
    def attempt(key: str, value: Any, sign: str) -> None:
        word = f"{sign}{key}={_spelt(value)}"
        taken, complaint = _tried(name, word, folder, places)
        outcome.add(complaint and f"{name} {word!r}: {complaint}")
        allowed = limits.range_of(key)
        if allowed is not None and not allowed.allows(value) and "${" not in str(value):
            refused.add(f"{name} {word!r} was taken" if taken else None)

    attempt()


def _keys(name: str, folder: Path) -> list[str]:
    config = OmegaConf.to_container(composed([f"experiment={name}"], folder), resolve=True)
    return sorted(key for key, _ in flat(config) if key not in PATHS)


def _spelt(value: Any) -> str:
    """A value as Hydra reads it."""
    if value is None:
        return "null"
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return value if value == "${seed}" else f"'{quoted}'"
    if isinstance(value, list):
        return f"[{','.join(map(_spelt, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_spelt(inner)}' for key, inner in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tried(name: str, word: str, folder: Path, places: tuple[str, str]) -> tuple[bool, str | None]:
    """Whether the command line was taken, and what was wrong with what came of it."""
    small = [w for w in (*EXPERIMENTS[name], *SMALL) if w.partition("=")[0] != word.lstrip("+").partition("=")[0]]
    words, taken = [f"experiment={name}", *small, *places, word], False
    try:
        with limited():
            check_arguments(CONF, words)
            taken = True
            run_task("fit", words, folder)
    except EXPECTED as error:
        taken = taken and not isinstance(error, UserError)
        return taken, None
    except HangError:
        return taken, "it hangs"
    except Exception as error:  # a traceback: the very thing that is looked for
        return taken, f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return taken, None
