"""The rules of the HorizontalPodAutoscaler, by the examples that are published.

[docs] is the page "Horizontal Pod Autoscaling" of kubernetes.io, [KEP] is KEP-853.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.rehearsal.hpa import DEFAULT_DOWN, DEFAULT_UP, Hpa, Policy, ScalingRules

_AT_ONCE = ScalingRules(0, (Policy("Percent", 1000, 15),))


def _replicas(hpa: Hpa, start: int, metrics: Sequence[float], *, every_s: float = 60) -> list[int]:
    """Return the numbers of replicas, from the first one on."""
    found = [start]
    for number, metric in enumerate(metrics):
        found.append(hpa.decide(number * every_s, found[-1], [metric]))
    return found


@pytest.mark.parametrize(
    ("replicas", "average", "expected"),
    [
        (2, 200, 4),  # [docs]: 200m where 100m are wanted: twice as many
        (4, 50, 2),  # [docs]: 50m: half as many
        (10, 109, 10),  # [docs]: within the tolerance of 0.1
        (10, 111, 12),
        (10, 91, 10),
        (10, 89, 9),
        (3, 34, 2),  # rounded up
    ],
)
def test_replicas_follow_the_ratio_of_metric_and_target(
    replicas: int, average: float, expected: int
) -> None:
    hpa = Hpa([100], 100, _AT_ONCE, ScalingRules(0, DEFAULT_DOWN.policies))
    assert hpa.decide(0, replicas, [average * replicas]) == expected


def test_of_several_metrics_the_one_that_asks_for_most_counts() -> None:
    hpa = Hpa([100, 1], 100, _AT_ONCE)
    assert hpa.decide(0, 2, [600, 3]) == 6
    assert hpa.decide(15, 6, [100, 9]) == 9


def test_no_replicas_switch_the_autoscaler_off_and_it_keeps_one() -> None:
    hpa = Hpa([100], 10, _AT_ONCE, ScalingRules(0, DEFAULT_DOWN.policies))
    assert hpa.decide(0, 0, [1000]) == 0
    assert hpa.decide(15, 3, [0]) == 1


def test_a_tenfold_policy_goes_from_1_to_10_to_100_to_1000() -> None:
    hpa = Hpa([1], 1000, ScalingRules(0, (Policy("Percent", 900, 60),)))
    assert _replicas(hpa, 1, [5000] * 3) == [1, 10, 100, 1000]  # [KEP], story 1


def test_one_pod_each_ten_minutes_ends_one_pod_in_ten_minutes() -> None:
    hpa = Hpa([1], 1000, DEFAULT_UP, ScalingRules(0, (Policy("Pods", 1, 600),)))
    found = _replicas(hpa, 1000, [1] * 21)
    assert found == [1000, *[999] * 10, *[998] * 10, 997]  # [KEP], story 2


def test_one_pod_each_five_minutes_starts_one_pod_in_five_minutes() -> None:
    hpa = Hpa([1], 10, ScalingRules(0, (Policy("Pods", 1, 300),)))
    assert _replicas(hpa, 1, [9] * 3, every_s=300) == [1, 2, 3, 4]  # [KEP], story 3


def test_a_direction_that_is_disabled_never_changes() -> None:
    hpa = Hpa([1], 10, _AT_ONCE, ScalingRules(0, DEFAULT_DOWN.policies, "Disabled"))
    assert _replicas(hpa, 2, [5, 1, 1]) == [2, 5, 5, 5]  # [KEP], story 4


def test_the_highest_recommendation_of_ten_minutes_counts_for_fewer() -> None:
    down = ScalingRules(600, (Policy("Pods", 5, 60),))
    hpa = Hpa([1], 100, _AT_ONCE, down)
    wanted = [10, 9, 8, 9, 9, 8, 9, 8, 9, 8, 7]
    # A little less than is wanted, so that no number is within the tolerance.
    found = _replicas(hpa, 10, [each if each == 10 else each - 0.6 for each in wanted])
    assert found == [*[10] * 11, 9]  # [KEP], story 5


def test_the_lowest_recommendation_of_five_minutes_counts_for_more() -> None:
    hpa = Hpa([1], 100, ScalingRules(300, (Policy("Pods", 20, 60),)))
    found = _replicas(hpa, 2, [2, 3, 19, 10, 3, 3])
    assert found == [2, 2, 2, 2, 2, 2, 3]  # [KEP], story 6


def test_of_two_policies_the_larger_change_counts() -> None:
    policies = (Policy("Pods", 4, 60), Policy("Percent", 10, 60))
    hpa = Hpa([1], 100, DEFAULT_UP, ScalingRules(0, policies))
    found = _replicas(hpa, 80, [10] * 14)
    # [docs]: first 8, then 10% of 72, which is rounded up to 8; at 40 and below, 4.
    assert found[:7] == [80, 72, 64, 57, 51, 45, 40]
    assert found[7:] == [36, 32, 28, 24, 20, 16, 12, 10]


def test_with_min_the_smaller_change_counts() -> None:
    policies = (Policy("Pods", 4, 60), Policy("Percent", 10, 60))
    hpa = Hpa([1], 100, DEFAULT_UP, ScalingRules(0, policies, "Min"))
    assert _replicas(hpa, 80, [10] * 2) == [80, 76, 72]


def test_a_period_counts_what_changed_within_it() -> None:
    hpa = Hpa([1], 100, ScalingRules(0, (Policy("Pods", 4, 60),)))
    assert _replicas(hpa, 1, [50] * 6, every_s=15) == [1, 5, 5, 5, 5, 9, 9]


def test_without_rules_five_minutes_pass_before_fewer() -> None:
    hpa = Hpa([1], 100)  # [docs]: the default behaviour
    found = _replicas(hpa, 1, [20] * 4 + [2] * 25, every_s=15)
    assert found[:5] == [1, 5, 10, 20, 20]
    assert found.index(2) == 4 + 300 / 15
