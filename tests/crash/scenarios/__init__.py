"""The scenarios of the crash suite, a file for each kind of fault."""

from tests.crash.scenario import Scenario
from tests.crash.scenarios import (
    broker,
    failover,
    frozen,
    frozen_member,
    full_disk,
    kill,
    outage,
    partition,
    poison,
    pooler,
    promotion,
    relays,
    restore,
    runs,
    slow,
    split_parts,
    stores,
    two_clocks,
    two_versions,
)

_SCENARIOS = (
    kill.SCENARIO,
    runs.SCENARIO,
    outage.SCENARIO,
    slow.SCENARIO,
    two_clocks.SCENARIO,
    two_versions.SCENARIO,
    frozen.SCENARIO,
    frozen_member.SCENARIO,
    poison.SCENARIO,
    full_disk.SCENARIO,
    restore.SCENARIO,
    restore.UNTOLD,
    failover.SCENARIO,
    promotion.SCENARIO,
    pooler.SCENARIO,
    *split_parts.SCENARIOS,
    relays.SCENARIO,
    partition.SCENARIO,
    broker.SCENARIO,
    stores.SENTINEL,
    stores.CLUSTER,
)
ALL: dict[str, Scenario] = {scenario.name: scenario for scenario in _SCENARIOS}
