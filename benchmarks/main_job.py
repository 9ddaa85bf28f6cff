"""Runs the main job and holds it to its bars: `python benchmarks/main_job.py` (about 10 minutes on two CPU cores).

Also times what must answer before torch is imported. Prints a table; exits with 1 if a bar is missed.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AT_LEAST = {"class_accuracy": 0.99, "worst_class": 0.975, "coverage": 0.90, "cas": 0.97}
FID_OVER_FLOOR = 3.0
JOB_SECONDS, ANSWER_SECONDS = 600.0, 2.0


def timed(*arguments: str) -> float:
    """Seconds of one whole command."""
    start = time.monotonic()
    subprocess.run([sys.executable, str(ROOT / "train.py"), *arguments], capture_output=True)
    return time.monotonic() - start


def main() -> None:
    """Measures, prints, judges."""
    results: list[tuple[str, float, str, bool]] = []
    for words in (["--help"], ["--cfg", "job", "experiment=cgan_embed20"], ["experiment=cgan_embed20", "lr=1"]):
        seconds = min(timed(*words) for _ in range(3))
        results.append((" ".join(words), seconds, f"<= {ANSWER_SECONDS} s", seconds <= ANSWER_SECONDS))
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed("experiment=cgan_embed20", f"hydra.run.dir={folder}/run")
        metrics = json.loads(Path(folder, "run/metrics.json").read_text())["metrics"]
    results.append(("main job", seconds, f"<= {JOB_SECONDS} s", seconds <= JOB_SECONDS))
    for name, bar in AT_LEAST.items():
        value = metrics[f"test/{name}"]
        results.append((name, value, f">= {bar}", value >= bar))
    ratio = metrics["test/fid"] / metrics["floor/fid"]
    results.append(("fid / floor", ratio, f"<= {FID_OVER_FLOOR}", ratio <= FID_OVER_FLOOR))
    for name, value, bar, met in results:
        print(f"{name:<45}{value:>10.4f}  {bar:<10}{'ok' if met else 'MISSED'}")
    sys.exit(not all(met for *_, met in results))


if __name__ == "__main__":
    main()
