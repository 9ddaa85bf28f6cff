"""What a translator is trained by."""

from dataclasses import dataclass

from mnist_gen.errors import UserError

SEEN = ("nothing", "outputs", "pairs")


@dataclass(frozen=True)
class Strategy:
    """What a translator is trained by; a weight of 0 is for none.

    Args:
        sees: what the discriminator is shown: `nothing`, `outputs`, or `pairs` of input and output.
        l1: weight of the mean absolute difference from the counterpart.
        cycle: of that between an input and what comes back from its translation; with it both ways are learnt.
        identity: of that between an image of the wanted class and its translation into that class; takes a `cycle`.

    Raises:
        UserError: there is no such choice, or nothing to learn from.
    """

    sees: str
    l1: float
    cycle: float
    identity: float

    def __post_init__(self) -> None:
        if self.sees not in SEEN:
            raise UserError(f"model.strategy.sees={self.sees}: choose one of {', '.join(SEEN)}.")
        for key in ("l1", "cycle", "identity"):
            if getattr(self, key) < 0:
                raise UserError(f"model.strategy.{key}={getattr(self, key)}: must be at least 0.")
        if self.sees == "nothing" and self.l1 == 0:
            raise UserError("model.strategy: with sees=nothing and l1=0 there is nothing to learn from.")
        if self.identity > 0 and self.cycle == 0:
            raise UserError(f"model.strategy.identity={self.identity}: takes a cycle above 0.")
