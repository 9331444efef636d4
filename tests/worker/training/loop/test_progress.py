"""Progress output, and the recorded loss curve."""

from __future__ import annotations

import io

from rich.console import Console

from sentq_worker.training.loop.progress import LineReporter, reporter_for
from sentq_worker.training.loop.state import TrainingState


def test_the_bar_and_the_lines_show_loss_and_speed() -> None:
    for is_terminal in (True, False):
        shown = io.StringIO()
        console = Console(file=shown, force_terminal=is_terminal, width=100)
        with reporter_for(console) as reporter:
            reporter.say("[half] an epoch")
            reporter.begin(steps=10, done=4)
            if isinstance(reporter, LineReporter):
                reporter.every_s = 0.0
            reporter.stepped(texts=32, loss=0.5)
        assert "[half] an epoch" in shown.getvalue()
        assert "loss 0.500" in shown.getvalue()
        assert "texts/s" in shown.getvalue()


def test_the_loss_curve_keeps_a_bounded_number_of_points() -> None:
    state = TrainingState()
    for step in range(1, 5001):
        state.add_loss(1.0 if step < 2500 else 0.5, step=step, steps=5000)
    assert 150 <= len(state.losses) <= 250
    assert state.losses[-1] == (5000, 0.5)
