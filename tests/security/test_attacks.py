"""Each attack of the review, as one sender: other senders' jobs are scored, and nothing breaks.

`python -m benchmarks.attacks --against CHECKOUT` runs the same attacks against another version.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from benchmarks.attacks.attack import Attack
from benchmarks.attacks.checkout import HERE
from benchmarks.attacks.run import ATTACKS, run_attack

pytestmark = pytest.mark.attack

#: On a machine that runs other tests too. The benchmark prints how many took less than 5 s.
LATENCY_LIMIT_S: Final = 20.0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_other_senders_are_served_beside_an_attack(
    attack: Attack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_attack(attack, HERE, tmp_path, wait_s=LATENCY_LIMIT_S)
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert report.worker == "runs"
    assert report.longest_s is not None
    assert report.growth_mib is not None
    assert report.growth_mib < 64
    assert report.is_finding_held, report.finding
