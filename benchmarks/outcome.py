"""What became of each kind of fault, and the table of all."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SECTIONS = ("files", "overrides", "kills", "disks", "signals")  # in the table's order
HEAD = "| fault | tried | survived | measured |\n| --- | --- | --- | --- |"


@dataclass
class Outcome:
    """How often a fault was tried and survived, and what was wrong where it was not.

    Args:
        fault: its name, for the table.
        measured: what `worst` is, such as seconds.
        worst: the largest value of it.
        note: why it was not tried.
    """

    fault: str
    measured: str = ""
    worst: float = 0.0
    note: str = ""
    tried: int = 0
    survived: int = 0
    complaints: list[str] = field(default_factory=list)

    def add(self, complaint: str | None, value: float = 0.0) -> None:
        """One more try: what was wrong with it, if anything was, and what was measured."""
        self.tried += 1
        self.worst = round(max(self.worst, value), 1)
        if complaint is None:
            self.survived += 1
        else:
            self.complaints.append(complaint)

    @property
    def row(self) -> str:
        """A line of the table."""
        measured = f"{self.worst} {self.measured}" if self.measured else self.note
        return f"| {self.fault} | {self.tried} | {self.survived} | {measured} |"

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def table(record: Mapping[str, Any]) -> str:
    """What was tried, as `docs/reliability.md` shows it."""
    rows = [Outcome(**outcome).row for name in SECTIONS for outcome in record[name]["outcomes"]]
    return "\n".join([HEAD, *rows])
