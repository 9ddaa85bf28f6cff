"""Runs experiments and holds them to their bars of speed and quality, for two CPU cores.

`python benchmarks/bars.py` runs all of them, `python benchmarks/bars.py cgan_embed20 gan` these alone.
What they start from is looked for in `outputs/`, or trained on the way, outside the time that counts. Also times what
must answer before torch is imported. Prints a table; exits with 1 if a bar is missed.
"""

import json
import operator
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ANSWERS = ("--help", "--cfg job experiment=cgan_embed20", "experiment=cgan_embed20 lr=1")
ANSWER_SECONDS = 2.0
SIGNS = {"<=": operator.le, ">=": operator.ge}
EXACT = {"largest_error/float32": "<= 1e-5", "largest_error/float64": "<= 1e-10"}
IN_TIME = {"minutes": "<= 10"}
BARS: Mapping[str, Mapping[str, str]] = {  # of a test figure, or of one over that of real images or another experiment
    "cgan_embed20": {
        **{"minutes": "<= 10", "class_accuracy": ">= 0.99", "worst_class": ">= 0.975", "fid / floor": "<= 3"},
        **{"coverage": ">= 0.9", "cas": ">= 0.97"},
    },
    "gan": {
        **{"minutes": "<= 10", "fid / floor": "<= 4", "coverage": ">= 0.9", "density": ">= 0.8"},
        **{"rarest_digit": ">= 0.08", "commonest_digit": "<= 0.12"},
    },
    **dict.fromkeys(
        ("gan_plain", "gan_latent", "gan_decoder", "student_report/gan", "student_report/cgan_onehot"), IN_TIME
    ),
    **{f"student_report/cgan_{name}": IN_TIME for name in ("embed20", "embed65", "embed20_after", "leaky")},
    "interpolation": {"minutes": "<= 3"},
    "mimic_conv": EXACT,
    "mimic_mlp": EXACT,
    "mimic_learned": {"minutes": "<= 5", "relative_error": "<= 0.01"},
    "transformer_classifier": {"minutes": "<= 10", "accuracy": ">= 0.985"},
    "translate_l1_paired": {"minutes": "<= 3"},
    "translate_cgan_paired": {
        **{"minutes": "<= 3", "correspondence": ">= 0.98"},
        **{"fid / translate_l1_paired": "<= 1", "l1 / translate_l1_paired": "<= 1.2"},
    },
    "translate_gan_unpaired": {"minutes": "<= 3"},
    "translate_cyclegan_unpaired data/rendering=texture": {"minutes": "<= 3", "correspondence": ">= 0.9"},
    "bottleneck/cgan": {"minutes": "<= 3"},
    "bottleneck/gan": {  # as real, of other digits: what the report says of such networks, no merit
        **{"minutes": "<= 3", "fid / bottleneck/cgan": "<= 2", "correspondence": "<= 0.5"},
    },
}

Records = dict[str, tuple[Mapping[str, float], float]]  # of each experiment its figures and minutes


def main() -> None:
    """Measures, prints and compares with the bars."""
    chosen = sys.argv[1:] or list(BARS)
    if unknown := [words for words in chosen if words not in BARS]:
        sys.exit(f"{', '.join(unknown)}: no bars; choose from {', '.join(BARS)}.")
    met = [_line(words, "seconds", _answer(words), f"<= {ANSWER_SECONDS}") for words in ANSWERS]
    records: Records = {}
    for words in chosen:
        met += [_line(words, name, _figure(words, name, records), bar) for name, bar in BARS[words].items()]
    sys.exit(not all(met))


def _answer(words: str) -> float:
    """Seconds of a whole command, the best of three."""
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        subprocess.run([sys.executable, str(ROOT / "train.py"), *words.split()], capture_output=True)
        seconds.append(time.monotonic() - start)
    return min(seconds)


def _figure(words: str, name: str, records: Records) -> float:
    """Minutes, a figure, or a figure over that of real images or of another experiment."""
    metrics, minutes = _record(words, records)
    figure, _, other = name.partition(" / ")
    if figure == "minutes":
        return minutes
    value = metrics.get(figure, metrics.get(f"test/{figure}", float("nan")))  # what is missing meets no bar
    if not other:
        return value
    return value / (metrics[f"floor/{figure}"] if other == "floor" else _figure(other, figure, records))


def _record(words: str, records: Records) -> tuple[Mapping[str, float], float]:
    """What a run left, which is made once."""
    if words not in records:
        with tempfile.TemporaryDirectory() as folder:
            arguments = f"train.py experiment={words} hydra.run.dir={folder}/run".split()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            record = json.loads(Path(folder, "run/metrics.json").read_text())
        records[words] = record["metrics"], sum(record["seconds"].values()) / 60
    return records[words]


def _line(words: str, name: str, value: float, bar: str) -> bool:
    sign, limit = bar.split()
    met = bool(SIGNS[sign](value, float(limit)))
    print(f"{words:<52}{name:<28}{value:>10.4g}  {bar:<10}{'ok' if met else 'MISSED'}", flush=True)
    return met


if __name__ == "__main__":
    main()
