import random

from mainspring.runtime.metrics.sliding_window import WINDOW_WORDS, SlidingWindow


def test_it_agrees_with_counting_them_all(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(50):
        counter = SlidingWindow(memoryview(bytearray(8 * WINDOW_WORDS)).cast("q"))
        moments, now_ms = [], source.randrange(10**12)
        for _ in range(200):
            now_ms += source.choice([0, 1, 200, 999, 1000, 5_000, 59_999, 60_000, 200_000])
            counter.add(now_ms)
            moments.append(now_ms // 1000)
            assert counter.count(now_ms) == sum(s > now_ms // 1000 - 60 for s in moments)
        assert counter.count(now_ms + 60_000) == 0
