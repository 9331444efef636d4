"""Models on CUDA: packed if torch's flash attention is correct and fast, otherwise padded.

Without a GPU, a stand-in on the CPU replaces the kernel.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention.varlen import varlen_attn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForSequenceClassification

from sentq_worker.engine.base import DeviceUnavailable, Window
from sentq_worker.inference import model as local
from sentq_worker.inference.attention_cuda import VarlenAttention, find_varlen
from sentq_worker.inference.model import LocalEngine
from sentq_worker.inference.model_files import find_model
from sentq_worker.inference.packed import PackedForward
from sentq_worker.inference.padded import PaddedForward
from sentq_worker.inference.trials import cuda
from sentq_worker.inference.trials.cuda import Timer, best_turn_s, choose_on_cuda
from sentq_worker.inference.trials.equivalence import Forward
from tests.support.models.families import PACKED, PADDED, make_family_model
from tests.support.models.varlen import standin_varlen_attn

_CPU = torch.device("cpu")

_DEVICES = [
    pytest.param(_CPU, VarlenAttention(standin_varlen_attn), id="stand-in"),
    pytest.param(
        torch.device("cuda", 0),
        find_varlen(),
        id="cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA: no GPU"),
    ),
]


def _packed_is_faster(forward: Forward, _: Sequence[Window]) -> float:
    return 1.0 if isinstance(forward, PackedForward) else 2.0


def _load(folder: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(folder).eval()


def _choose(
    model: Any,
    attend: Callable[..., Any] | None = standin_varlen_attn,
    *,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.bfloat16,
    timer: Timer = _packed_is_faster,
) -> Forward:
    return choose_on_cuda(
        model,
        device=device,
        dtype=dtype,
        pad_id=0,
        window_tokens=64,
        varlen=None if attend is None else VarlenAttention(attend),
        timer=timer,
    )


def _windows(*lengths: int) -> list[Window]:
    rng = random.Random(4)
    return [Window([rng.randrange(5, 60) for _ in range(length)], length) for length in lengths]


def _logits(forward: Forward, windows: Sequence[Window]) -> torch.Tensor:
    with torch.inference_mode():
        return forward.logits(windows).float().cpu()


@pytest.mark.parametrize(("device", "varlen"), _DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", sorted(PACKED))
def test_packed_scores_equal_padded_and_single_scores(
    family: str, dtype: torch.dtype, device: torch.device, varlen: VarlenAttention, tmp_path: Path
) -> None:
    folder = make_family_model(tmp_path, family)
    windows = _windows(7, 1, 64, 3, 7, 3, 33, 3, 1, 64)
    exact = _logits(PaddedForward(_load(folder), pad_id=0), windows)
    padded = _logits(PaddedForward(_load(folder).to(device, dtype), pad_id=0), windows)
    forward = choose_on_cuda(
        _load(folder),
        device=device,
        dtype=dtype,
        pad_id=0,
        window_tokens=64,
        varlen=varlen,
        timer=_packed_is_faster,
    )
    assert isinstance(forward, PackedForward)
    together = _logits(forward, windows)
    alone = torch.cat([_logits(forward, [window]) for window in windows])
    rounding = 3 * float((padded - exact).abs().max())
    assert rounding < 0.5 * float(exact.std(dim=0).max())
    for logits in (together, alone):
        assert torch.allclose(logits, exact, rtol=0, atol=rounding)
    assert torch.allclose(together, alone, rtol=0, atol=rounding)


@pytest.mark.parametrize("family", sorted(PADDED))
def test_families_that_cannot_be_packed_are_padded(family: str, tmp_path: Path) -> None:
    model = _load(make_family_model(tmp_path, family))
    assert isinstance(_choose(model), PaddedForward)


def _nan(*args: object, **options: object) -> torch.Tensor:
    return torch.full_like(standin_varlen_attn(*args, **options), torch.nan)


def _of_other_windows(*args: object, **options: object) -> torch.Tensor:
    return standin_varlen_attn(*args, **options).flip(0)


def _short_of_memory(*_: object, **__: object) -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


def _of_another_torch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    raise AssertionError


@pytest.mark.parametrize(
    "attend",
    [
        None,
        pytest.param(
            varlen_attn,  # raises an error on a CPU
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
        _nan,
        _of_other_windows,
        _short_of_memory,
        _of_another_torch,
    ],
)
def test_a_failing_or_wrong_kernel_leaves_the_model_padded_and_unchanged(
    attend: Callable[..., Any] | None, tmp_path: Path
) -> None:
    folder = make_family_model(tmp_path, "Bert")
    forward = _choose(_load(folder), attend)
    assert isinstance(forward, PaddedForward)
    windows = _windows(7, 64, 3)
    usual = PaddedForward(_load(folder).to(torch.bfloat16), pad_id=0)
    assert torch.equal(_logits(forward, windows), _logits(usual, windows))


def test_a_model_with_infinite_logits_is_padded(tmp_path: Path) -> None:
    model = _load(make_family_model(tmp_path, "Bert"))
    with torch.no_grad():
        model.classifier.bias.add_(1e6)  # infinite in fp16 with any kernel
    assert isinstance(_choose(model, dtype=torch.float16), PaddedForward)


def test_the_last_layer_is_computed_in_full_if_a_single_query_per_window_fails(
    tmp_path: Path,
) -> None:
    queries: list[int] = []

    def attend(*args: Any, **options: Any) -> torch.Tensor:
        if args[5] == 1:
            raise RuntimeError("max_q")
        queries.append(len(args[0]))
        return standin_varlen_attn(*args, **options)

    forward = _choose(_load(make_family_model(tmp_path, "Bert")), attend)
    assert isinstance(forward, PackedForward)
    queries.clear()
    _logits(forward, _windows(7, 3))
    assert queries == [10, 10, 10]


def test_the_last_layer_queries_only_the_first_tokens(tmp_path: Path) -> None:
    queries: list[int] = []

    def attend(*args: Any, **options: Any) -> torch.Tensor:
        queries.append(len(args[0]))
        return standin_varlen_attn(*args, **options)

    forward = _choose(_load(make_family_model(tmp_path, "Bert")), attend)
    queries.clear()
    _logits(forward, _windows(7, 3))
    assert queries == [10, 10, 2]


@pytest.mark.slow
def test_a_slower_kernel_is_not_used(tmp_path: Path) -> None:
    def slow(*args: object, **options: object) -> torch.Tensor:
        time.sleep(0.1)
        return standin_varlen_attn(*args, **options)

    folder = make_family_model(tmp_path, "Bert")
    assert isinstance(_choose(_load(folder), slow, timer=best_turn_s), PaddedForward)


def test_a_kernel_that_cannot_be_timed_is_not_used(tmp_path: Path) -> None:
    def fail(forward: Forward, _: Sequence[Window]) -> float:
        if isinstance(forward, PackedForward):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    model = _load(make_family_model(tmp_path, "Bert"))
    assert isinstance(_choose(model, timer=fail), PaddedForward)


def test_fp32_is_padded_because_flash_attention_does_not_support_it(tmp_path: Path) -> None:
    def attend(*_: object, **__: object) -> torch.Tensor:
        pytest.fail("flash attention was called with fp32")

    model = _load(make_family_model(tmp_path, "Bert"))
    assert isinstance(_choose(model, attend, dtype=torch.float32), PaddedForward)


def test_a_device_that_fails_in_the_trial_is_rejected_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "device_works", lambda _: False)
    model = _load(make_family_model(tmp_path, "Bert"))
    with pytest.raises(DeviceUnavailable, match="SENTQ_WORKER_DTYPE=float32"):
        _choose(model, _short_of_memory)


def test_a_torch_without_varlen_attention_is_detected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(find_varlen(), VarlenAttention)
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", None)
    assert find_varlen() is None


class _NoDeviceReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fails when a value of a tensor is read, which makes a GPU wait for all earlier work."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        assert func not in {
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten.is_nonzero.default,
            torch.ops.aten.equal.default,
        }
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", sorted(PACKED))
def test_a_forward_pass_reads_no_value_back_from_the_device(family: str, tmp_path: Path) -> None:
    model = _load(make_family_model(tmp_path, family))
    forward = _choose(model)
    assert isinstance(forward, PackedForward)
    usual = model.forward

    def without_device_reads(**inputs: Any) -> Any:
        with _NoDeviceReads():  # type: ignore[no-untyped-call]
            return usual(**inputs)

    model.forward = without_device_reads
    _logits(forward, _windows(7, 1, 64, 3))


@pytest.mark.parametrize(("attend", "pads"), [(standin_varlen_attn, False), (_nan, True)])
def test_the_engine_reports_whether_it_pads(
    attend: Callable[..., Any],
    *,
    pads: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def choose_here(model: Any, *, device: torch.device, varlen: object, **options: Any) -> Forward:
        assert device.type == "cuda"
        assert isinstance(varlen, VarlenAttention)
        return choose_on_cuda(
            model, device=_CPU, varlen=VarlenAttention(attend), timer=_packed_is_faster, **options
        )

    # Only the device is replaced.
    monkeypatch.setattr(local, "choose_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(local, "choose_on_cuda", choose_here)
    files = find_model(str(make_family_model(tmp_path, "Bert")))
    with caplog.at_level(logging.INFO):
        engine = LocalEngine(files, device="cuda", dtype="bfloat16", threads=1)
    assert (engine.pads, engine.info.dtype) == (pads, "bfloat16")
    assert f"bert runs {'padded' if pads else 'packed'} on cpu in bfloat16" in caplog.text
    windows = _windows(20, 3)
    for window, row in zip(windows, engine.predict(windows), strict=True):
        assert row == pytest.approx(engine.predict([window])[0], abs=0.03)
