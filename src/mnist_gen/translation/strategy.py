"""The losses that train a translator."""

from dataclasses import dataclass

from mnist_gen.errors import UserError, check_at_least, check_choice

SEEN = ("nothing", "outputs", "pairs")


@dataclass(frozen=True)
class Strategy:
    """The weights of a translator's losses; a weight of 0 disables its loss.

    Args:
        sees: input of the discriminator: `nothing` (no discriminator), `outputs`, or `pairs` of input and output.
        l1: weight of the mean absolute difference between output and target.
        cycle: weight of the same difference between an input and its translation to the other class and back. Above 0,
            both directions are trained.
        identity: weight of the same difference between a target and its translation into its own class; needs `cycle`.

    Raises:
        UserError: a value is out of range, or there is nothing to learn from.
    """

    sees: str
    l1: float
    cycle: float
    identity: float

    def __post_init__(self) -> None:
        check_choice("model.strategy.sees", self.sees, SEEN)
        check_at_least(0, "model.strategy", l1=self.l1, cycle=self.cycle, identity=self.identity)
        if self.sees == "nothing" and self.l1 == 0:
            raise UserError("model.strategy: with sees=nothing and l1=0 there is nothing to learn from.")
        if self.identity > 0 and self.cycle == 0:
            raise UserError(f"model.strategy.identity={self.identity}: needs model.strategy.cycle above 0.")
