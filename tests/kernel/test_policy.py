"""How long the defaults of retries go on."""

from mainspring.kernel.policy import RetryPolicy


def test_the_default_goes_on_for_about_a_day() -> None:
    policy = RetryPolicy()
    waits = [policy.delay_s(attempt, 0.5) for attempt in range(1, policy.max_attempts)]
    assert waits[0] < 1
    assert sum(waits[:10]) < 15 * 60
    assert 20 * 3600 < sum(waits) < 36 * 3600
