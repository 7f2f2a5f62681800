"""The scheduler: turns cron lines into jobs, each moment once however many processes run."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from mainspring.kernel.clock import Clock
from mainspring.kernel.job import Schedule
from mainspring.ports.database import Database, StartError
from mainspring.runtime.events.consumer_runner import consumer_caller
from mainspring.runtime.invoke.dispatcher import Dispatcher
from mainspring.runtime.notifier import Notifier, wait
from mainspring.runtime.retention import Retention
from mainspring.runtime.supervisor import Supervisor
from mainspring.runtime.tables import MOVE_SCHEDULE, SCHEDULE, SCHEDULES, ScheduleRow

LOOK_AGAIN_S = 60.0
SWEEP_S = 60.0


class FiringTaken(Exception):
    """Another process fired this moment first."""


def next_ms(cron: str, after_ms: int) -> int:
    """Return the next moment a cron line (UTC) names after another. Raises CronSimError."""
    after = datetime.fromtimestamp(after_ms / 1000, UTC)
    return int(next(CronSim(cron, after)).timestamp() * 1000)


class Scheduler:
    """Fires schedules, and sweeps what the system tables no longer need."""

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        schedules: Sequence[Schedule],
        board: Notifier,
        clock: Clock,
        retention: Retention,
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._schedules = schedules
        self._board = board
        self._clock = clock
        self._retention = retention
        self._supervisor = Supervisor()

    def check(self) -> None:
        """Raise StartError for a cron line that names no moment."""
        for schedule in self._schedules:  # one of them would stop all the others
            try:
                next_ms(schedule.cron, self._clock.now_ms())
            except (CronSimError, StopIteration) as error:
                raise StartError(
                    f"schedule {schedule.name!r}: {error or 'it names no moment'}"
                ) from error

    async def start(self) -> None:
        """Start firing and sweeping. Raises StartError."""
        self.check()
        if self._schedules:
            self._supervisor.start("schedules", self._fire)
        self._supervisor.start("sweep", self._sweep)

    def failing(self) -> list[str]:
        """Name the loops that fail, and why."""
        return self._supervisor.failing()

    async def stop(self) -> None:
        """Stop."""
        await self._supervisor.stop()

    async def _fire(self) -> None:
        with self._board.listen() as signal:
            while True:
                signal.clear()
                soonest_ms = min((await self.run_due()).values())
                delay_s = (soonest_ms - self._clock.now_ms()) / 1000
                await wait(signal, min(max(delay_s, 0.0), LOOK_AGAIN_S))

    async def run_due(self) -> dict[str, int]:
        """Fire every schedule whose moment has come; return the next moment of each by name."""
        return {schedule.name: await self.fire_due(schedule) for schedule in self._schedules}

    async def fire_due(self, schedule: Schedule) -> int:
        """Enqueue the job if its moment has come; return the next moment.

        Moments missed while nothing ran become one job.
        """
        now_ms = self._clock.now_ms()
        found = await self._database.read(SCHEDULE, (schedule.name,))
        following_ms = next_ms(schedule.cron, now_ms)
        if not found:
            row = ScheduleRow(schedule.name, following_ms)
            await self._database.commit([SCHEDULES.insert(row, on_conflict=None)])
            return following_ms
        if found[0] > following_ms:  # a clock that was wrong wrote it: no moment lies between
            heal = MOVE_SCHEDULE(name=schedule.name, was_ms=found[0], next_ms=following_ms)
            await self._database.commit([heal])
            return following_ms
        if found[0] > now_ms:
            return found[0]
        call = self._dispatcher.call(
            consumer_caller("main"), request_id=f"{schedule.name} {found[0]}"
        )
        call.enqueue(schedule.job.configure(unique_key=schedule.name))
        move = MOVE_SCHEDULE(name=schedule.name, was_ms=found[0], next_ms=following_ms)
        try:
            await self._dispatcher.commit(call, also=(move.expect(1, FiringTaken),))
        except FiringTaken:
            return self._clock.now_ms()
        return following_ms

    async def _sweep(self) -> None:
        with self._board.listen() as never:
            never.clear()
            while True:
                await self.sweep()
                await wait(never, SWEEP_S)

    async def sweep(self) -> int:
        """Remove what has been kept for long enough; return how many rows."""
        return await self._retention.sweep(self._clock.now_ms())
