"""The command of a clone. The installed package has the same one, `mnist-gen`."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "src"))  # runs from a clone as it is, installed or not
os.environ.setdefault("MNIST_GEN_ROOT", str(ROOT))

if __name__ == "__main__":
    from mnist_gen.runs.main import main

    main()
