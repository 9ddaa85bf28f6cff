"""Replays a whole training step as one CUDA graph.

A small network's step is hundreds of tiny kernels, and Python takes longer to launch one than the GPU to run it.

A model asks for this by `replayable = True`. It promises that each of its training steps runs the same operations on
the device: it takes one step of each optimizer, no Python number changes from step to step (learning rates may, see
`Capture`), and no operation waits for the device. What changes is a tensor that is changed in place, such as a GAN's
count of batches.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loops.optimization.automatic import Closure
from torch import Tensor
from torch.optim import Optimizer

log = logging.getLogger(__name__)

T = TypeVar("T")
WARM_UP = 3  # eager steps before the capture, as torch asks for


class Graph(Protocol):
    """What `Replay` needs of a device."""

    def rehearse(self, step: Callable[[], T]) -> tuple[T, str]:
        """Runs a step; also says which operation cannot be captured, or nothing."""

    def capture(self, step: Callable[[], T]) -> T:
        """Records a step without running it; raises RuntimeError if it cannot."""

    def replay(self) -> None:
        """Runs the recorded step, on and into the same memory."""


class CUDAGraph:
    """A graph of one GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream, self.graph = device, torch.cuda.Stream(device), torch.cuda.CUDAGraph()

    def rehearse(self, step: Callable[[], T]) -> tuple[T, str]:
        """Runs the step on the stream of the capture. What waits for the GPU there cannot be captured."""
        present = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(present)
        with warnings.catch_warnings(record=True) as caught, torch.cuda.stream(self.stream):
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                result = step()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        present.wait_stream(self.stream)
        waits = [warning for warning in caught if "synchronizing" in str(warning.message)]
        return result, f"{waits[0].filename}:{waits[0].lineno} waits for the GPU" if waits else ""

    def capture(self, step: Callable[[], T]) -> T:
        random = torch.cuda.default_generators[self.device.index or 0]
        state = random.get_state()
        try:
            with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
                return step()
        except RuntimeError:  # some versions of torch leave the generator as if the capture went on
            fresh = torch.Generator(self.device)
            fresh.set_state(state)
            random.graphsafe_set_state(fresh)
            raise

    def replay(self) -> None:
        self.graph.replay()


class Replay(Generic[T]):
    """Runs a function of tensors: a few times as it is, then as a graph. Without a graph it always runs as it is.

    Results of a replay are valid until the next one.
    """

    def __init__(self, graph: Graph | None) -> None:
        self.graph = graph
        self._runs = 0
        self._inputs: Sequence[Tensor] = ()
        self._result: Any = None

    def __call__(self, step: Callable[[], T], inputs: Sequence[Tensor]) -> T:
        """Runs `step`, a function without arguments that uses these tensors, or the graph on their values."""
        if self.graph is None:
            return step()
        self._runs += 1
        if self._runs <= WARM_UP:
            result, obstacle = self.graph.rehearse(step)
            if obstacle and self._runs == WARM_UP:  # first runs may wait for what later ones find ready
                self.give_up(obstacle)
            return result
        if self._runs == WARM_UP + 1:
            try:
                self._result, self._inputs = self.graph.capture(step), inputs
            except RuntimeError as error:
                self.give_up(str(error).partition("\n")[0])
                return step()
        elif [(new.shape, new.dtype) for new in inputs] != [(old.shape, old.dtype) for old in self._inputs]:
            return step()  # such as an incomplete last batch
        for old, new in zip(self._inputs, inputs, strict=True):
            if old is not new:
                old.copy_(new)
        self.graph.replay()
        return self._result

    def give_up(self, obstacle: str) -> None:
        """From now on each step runs as it is."""
        if self.graph is not None:
            log.warning("The step is not replayed but runs operation by operation: %s", obstacle)
        self.graph = None


def graph_of(device: torch.device) -> Graph | None:
    """A graph to capture on a device, or None where there are none."""
    return CUDAGraph(device) if device.type == "cuda" else None


def replay_on(device: torch.device, optimizers: Sequence[Optimizer]) -> Replay[Any]:
    """A `Replay` of steps of these optimizers. Their learning rates become tensors, which schedules may change."""
    graph = graph_of(device)
    for optimizer in optimizers if graph is not None else ():
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
            group.update({"capturable": True} if "capturable" in group else {})
        for state in optimizer.state.values():
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(device)
    return Replay(graph)


class Capture(Callback):
    """Replays the training steps of a model that is `replayable`, on one GPU; elsewhere it does nothing.

    Checkpoints keep learning rates as numbers, so that they load on any machine.
    """

    def __init__(self) -> None:
        self._replay: Replay[Any] = Replay(None)
        self._batch: Any = None
        self._options: list[Any] = []  # the optimizers' other options, which must not change

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes the place of the model's training step, or of its optimizer's step, which includes the former."""
        if not getattr(pl_module, "replayable", False) or trainer.world_size > 1:
            return
        self._replay = replay_on(pl_module.device, trainer.optimizers)
        if self._replay.graph is None:
            return
        name = "optimizer_step" if pl_module.automatic_optimization else "training_step"
        setattr(pl_module, name, getattr(self, f"_{name}")(trainer, getattr(pl_module, name)))

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: Any) -> None:
        if self._replay.graph is None:
            return
        self._batch = batch
        options = [_options(optimizer) for optimizer in trainer.optimizers]
        if self._options and options != self._options:
            self._replay.give_up("a schedule changes more than the learning rate")
        self._options = options

    def _training_step(self, trainer: L.Trainer, training_step: Callable[..., Any]) -> Callable[..., Any]:
        """Replays all steps of all optimizers, and counts them: Lightning counts those that are not replayed."""
        progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        counts, steps = (progress.total, progress.current), len(trainer.optimizers)

        def replayed(batch: Any, batch_idx: int) -> Any:
            before = [count.completed for count in counts]
            losses = self._replay(lambda: training_step(batch, batch_idx), batch)
            for count, completed in zip(counts, before, strict=True):
                count.ready = count.completed = completed + steps
            return losses

        return replayed

    def _optimizer_step(self, trainer: L.Trainer, optimizer_step: Callable[..., None]) -> Callable[..., None]:
        """Replays training step, backward pass and optimizer step; Lightning finds the result in the closure."""

        def replayed(epoch: int, batch_idx: int, optimizer: Optimizer, closure: Closure) -> None:
            def step() -> Any:
                optimizer_step(epoch, batch_idx, optimizer, closure)
                result = closure.consume_result()
                result.closure_loss = None  # or the autograd graph would outlive its step
                return result

            closure._result = self._replay(step, self._batch)

        return replayed

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gives the model its methods and the GPU its memory back."""
        vars(pl_module).pop("optimizer_step" if pl_module.automatic_optimization else "training_step", None)
        self._replay = Replay(None)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Writes plain numbers, which any machine can load."""
        for state in checkpoint.get("optimizer_states", ()):
            for group in state["param_groups"]:
                group["lr"] = float(group["lr"])
                group.update({"capturable": False} if "capturable" in group else {})
        for state in checkpoint.get("lr_schedulers", ()):
            state["_last_lr"] = [float(rate) for rate in state.get("_last_lr", ())]


def _options(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in group.items() if key not in ("params", "lr")} for group in optimizer.param_groups
    ]
