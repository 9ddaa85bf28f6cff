"""Holds the newest record of each experiment to its bars of speed and quality, for two CPU cores.

If the newest commit has several seeds, their mean counts.

`python -m benchmarks.bars` checks all, `python -m benchmarks.bars cgan_embed20 gan speed` only these. It also
times the commands that must answer before torch is imported. It prints a table, and exits with 1 if a bar is missed or
not measured.
"""

import math
import operator
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import mean

from benchmarks.tables import ROOT, Entry, Records, measured_speeds, read

ANSWERS = ("--help", "--cfg job experiment=cgan_embed20", "experiment=cgan_embed20 lr=1")
ANSWER_SECONDS = 2.0
SIGNS = {"<=": operator.le, ">=": operator.ge}
EXACT = {"largest_error/float32": "<= 1e-5", "largest_error/float64": "<= 1e-10"}
IN_TIME = {"minutes": "<= 10"}
SPEED = "speed"  # what speed.py measured
BARS: Mapping[str, Mapping[str, str]] = {  # of minutes, a test metric, or one over the floor or another experiment
    SPEED: {  # by the rows of its table
        **{"Lightning / bare loop": "<= 1.03", "ours / naive": ">= 2", "first step: s": "<= 10"},
        **{"in sequence / side by side": ">= 1.3", "equal single-threaded results": ">= 1"},
    },
    "cgan_embed20": {
        **{"minutes": "<= 10", "class_accuracy": ">= 0.996", "worst_class": ">= 0.989", "fid / floor": "<= 2.2"},
        **{"coverage": ">= 0.92", "cas": ">= 0.972"},
    },
    "gan": {
        **{"minutes": "<= 10", "fid / floor": "<= 2.2", "coverage": ">= 0.9", "density": ">= 0.8"},
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
    "bottleneck/gan": {  # equally real images of other digits, as the student report says of GAN-like networks
        **{"minutes": "<= 3", "fid / bottleneck/cgan": "<= 2", "correspondence": "<= 0.5"},
    },
}


def main() -> None:
    """Prints each value beside its bar."""
    chosen = sys.argv[1:] or list(BARS)
    if unknown := [words for words in chosen if words not in BARS]:
        sys.exit(f"{', '.join(unknown)}: no bars; choose from {', '.join(BARS)}.")
    records = read()
    met = [_line(words, "seconds", _answer(words), f"<= {ANSWER_SECONDS}") for words in ANSWERS]
    for words in chosen:
        met += [_line(words, name, _value(words, name, records), bar) for name, bar in BARS[words].items()]
    sys.exit(not all(met))


def _answer(words: str) -> float:
    """Seconds of a whole command, the best of three."""
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        subprocess.run([sys.executable, str(ROOT / "train.py"), *words.split()], capture_output=True)
        seconds.append(time.monotonic() - start)
    return min(seconds)


def _value(words: str, name: str, records: Records) -> float:
    """Minutes, a metric, or a metric relative to the real-data floor or to another experiment; NaN if not recorded."""
    if words == SPEED:
        return measured_speeds(records).get(name, math.nan)
    entries = _newest(words, records)
    metric, _, other = name.partition(" / ")
    value = _mean(entries, metric)
    if not other:
        return value
    return value / (_mean(entries, f"floor/{metric}") if other == "floor" else _value(other, metric, records))


def _mean(entries: Sequence[Entry], metric: str) -> float:
    if metric == "minutes":
        return mean([sum(entry.get("seconds", {}).values()) / 60 or math.nan for entry in entries] or [math.nan])
    found = [entry["metrics"] for entry in entries]
    return mean([each.get(metric, each.get(f"test/{metric}", math.nan)) for each in found] or [math.nan])


def _newest(words: str, records: Records) -> list[Entry]:
    """The records of an experiment with any seed, of the newest one's commit and processor."""
    command = re.compile(rf"python train.py experiment={re.escape(words)}( seed=\d+)?")
    entries = [entry for entry in records.get(words.split()[0], ()) if command.fullmatch(entry["command"])]
    same = ("commit", "processor")
    return [entry for entry in entries if all(entry[key] == entries[-1][key] for key in same)]


def _line(words: str, name: str, value: float, bar: str) -> bool:
    sign, limit = bar.split()
    met = bool(SIGNS[sign](value, float(limit)))
    said = "no record" if math.isnan(value) else "ok" if met else "MISSED"
    print(f"{words:<52}{name:<28}{value:>10.4g}  {bar:<10}{said}", flush=True)
    return met


if __name__ == "__main__":
    main()
