"""One training step: a padded batch in, updated weights out.

With `dtype` bfloat16 the model computes in bfloat16, and float32 master weights take the updates:
bfloat16 weights would lose most updates of fine-tuning to rounding. On one core of an AVX-512
BF16 processor (MiniLM-L6, batches of 32) this trains 3.2k tokens/s, autocast 2.7-3.2k, float32
1.1k.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict

import torch

from sentq_worker.training.errors import DivergedError
from sentq_worker.training.step.averaging import RunningMean, RunningMeanState
from sentq_worker.training.step.objective import Objective
from sentq_worker.training.step.optimizer import Optimizer, OptimizerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from transformers import PreTrainedModel

    from sentq_worker.training.step.padding import Padding

__all__ = ["Learner", "LearnerState"]

_DEFAULT_OBJECTIVE = Objective()
_DEFAULT_OPTIMIZER = OptimizerOptions()


class LearnerState(TypedDict):
    """The state of a `Learner` in a checkpoint."""

    weights: dict[str, torch.Tensor]
    mean: RunningMeanState | None
    optimizer: dict[str, object]
    rng: dict[str, torch.Tensor]


class Learner:
    """A classifier with its optimizer and, on request, the running mean of its weights.

    The model is moved to `device` and `dtype`, and trained in place, except weights that require
    no gradient. With `average_steps` > 0,
    `weights` returns the mean of the weights over about so many steps.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        padding: Padding,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        objective: Objective = _DEFAULT_OBJECTIVE,
        optimizer: OptimizerOptions = _DEFAULT_OPTIMIZER,
        average_steps: int = 0,
    ) -> None:
        self._padding = padding
        self._device = device
        self._objective = objective
        # Before they are converted to `dtype`: they must not be rounded.
        self._frozen_weights = self._copies(
            {name: one for name, one in model.named_parameters() if not one.requires_grad}
        )
        # The decorator of transformers around `to` hides its type.
        self.model: torch.nn.Module = torch.nn.Module.to(model, device=device, dtype=dtype)
        self.model.train()
        named = {name: one for name, one in self.model.named_parameters() if one.requires_grad}
        self._model_weights = list(named.values())
        self._master_weights = {name: _master_copy(one) for name, one in named.items()}
        self._optimizer = Optimizer(
            self._master_weights,
            optimizer,
            body=model.base_model_prefix,
            fused=device.type in ("cpu", "cuda"),
        )
        self._mean = (
            RunningMean(self._master_weights, steps=average_steps) if average_steps else None
        )

    def learn(
        self,
        rows: Sequence[Sequence[int]],
        targets: Sequence[int | Sequence[float]],
        *,
        rate: float,
    ) -> float:
        """Take one optimizer step at this learning rate; return the loss.

        Args:
            targets: Of all rows the numbers of the labels, or the probabilities of all labels.

        Raises:
            DivergedError: The loss is not finite. The weights are unchanged.
        """
        logits = self._logits(rows)  # (rows, labels) float32
        loss = self._objective.loss(logits, torch.tensor(targets, device=self._device))
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(
                "the loss is not finite: --restart with a lower --learning-rate, "
                "or with --dtype float32"
            )
        # Tensor.backward has no type in torch.
        loss.backward()  # type: ignore[no-untyped-call]
        self._copy_gradients_to_masters()
        self._optimizer.step(rate)
        if self._mean is not None:
            self._mean.step()
        self._load_weights(self._master_weights)
        return value

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """Let `predict` use the weights that `weights` returns. Do not call `learn` within it."""
        if self._mean is None:
            yield
            return
        saved = self._copies(self._master_weights)
        self._load_weights(self._mean.weights)
        try:
            yield
        finally:
            self._load_weights(saved)

    @torch.inference_mode()
    def predict(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the probabilities of all labels, row by row, without dropout."""
        self.model.eval()
        try:
            probabilities: list[list[float]] = self._logits(rows).softmax(dim=-1).tolist()
        finally:
            self.model.train()
        return probabilities

    def weights(self) -> dict[str, torch.Tensor]:
        """Return float32 copies of all weights on the CPU, by name."""
        trained = self._master_weights if self._mean is None else self._mean.weights
        kept = self._frozen_weights | trained
        return {name: one.cpu() for name, one in self._copies(kept).items()}

    def state(self) -> LearnerState:
        """Return the complete state, with which `restore` continues exactly."""
        rng = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self._device)
        return {
            "weights": {name: one.detach() for name, one in self._master_weights.items()},
            "mean": None if self._mean is None else self._mean.state(),
            "optimizer": self._optimizer.state(),
            "rng": rng,
        }

    def restore(self, state: LearnerState) -> None:
        """Restore a state that `state` returned, including the random generators."""
        with torch.no_grad():
            for name, master in self._master_weights.items():
                master.copy_(state["weights"][name])
        if self._mean is not None and state["mean"] is not None:
            self._mean.restore(state["mean"])
        self._optimizer.restore(state["optimizer"])
        self._load_weights(self._master_weights)
        torch.set_rng_state(state["rng"]["cpu"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state["rng"]["cuda"], self._device)

    def _logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        token_ids, mask = self._padding.tensors(rows, self._device)  # both (rows, tokens)
        logits: torch.Tensor = self.model(input_ids=token_ids, attention_mask=mask).logits
        return logits.float()

    def _copy_gradients_to_masters(self) -> None:
        # The gradient buffers are kept: new ones cost 15 ms of page faults per step with BERT's
        # vocabulary, of 180 to 300 ms in total.
        sources, targets = [], []
        for weight, master in zip(self._model_weights, self._master_weights.values(), strict=True):
            if weight is master:
                continue
            if master.grad is None:
                master.grad = torch.zeros_like(master)
            if weight.grad is None:
                master.grad.zero_()
                continue
            sources.append(weight.grad)
            targets.append(master.grad)
        if targets:
            torch._foreach_copy_(targets, sources)

    @staticmethod
    def _copies(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: one.detach().clone() for name, one in weights.items()}

    def _load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        pairs = zip(self._model_weights, weights.values(), strict=True)
        with torch.no_grad():
            for weight, source in pairs:
                if weight is not source:
                    weight.copy_(source)
                weight.grad = None


def _master_copy(weight: torch.nn.Parameter) -> torch.Tensor:
    return weight if weight.dtype == torch.float32 else weight.detach().float()
