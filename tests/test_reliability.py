"""The page on reliability shows what was measured."""

import json

from benchmarks.outcome import table
from tests.conftest import ROOT


def test_the_table_is_the_record():
    record = json.loads((ROOT / "benchmarks/records/faults.json").read_text())
    assert table(record) in (ROOT / "docs/reliability.md").read_text()
    for section in record.values():
        assert section["commit"]
        assert not section["commit"].endswith("dirty")
        assert all(outcome["tried"] == outcome["survived"] or outcome["note"] for outcome in section["outcomes"])
