"""Studies of trained models: what they are compared by, their files and their pictures. Nothing is trained here."""

from collections.abc import Mapping, Sequence

from omegaconf import DictConfig

from mnist_gen.data.mnist import ImageData


class Study:
    """Looks at models, which it is then called with.

    Attributes:
        parts: of the configuration that name the models.
    """

    parts: Sequence[str] = ()

    def check(self, data: ImageData, models: Mapping[str, DictConfig]) -> None:
        """Called before any model is trained.

        Args:
            data: loaded.
            models: their configurations, by part.

        Raises:
            UserError: it cannot look at these.
        """
