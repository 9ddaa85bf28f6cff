"""The losses that train a translator."""

from dataclasses import dataclass

from mnist_gen.errors import UserError


@dataclass(frozen=True)
class Strategy:
    """The weights of a translator's losses, which are mean absolute differences; a weight of 0 disables its loss."""

    sees: str  # input of the discriminator: `nothing` (no discriminator), `outputs`, or `pairs` of input and output
    l1: float  # between output and target
    cycle: float  # between an input and its translation to the other class and back; above 0, both directions train
    identity: float  # between a target and its translation into its own class; needs `cycle`

    def __post_init__(self) -> None:
        if self.sees == "nothing" and self.l1 == 0:
            raise UserError("model.strategy: with sees=nothing and l1=0 there is nothing to learn from.")
        if self.identity > 0 and self.cycle == 0:
            raise UserError(f"model.strategy.identity={self.identity}: needs model.strategy.cycle above 0.")
