"""What metrics tell of calls to the owners of services, and of the certificate that they see."""

import asyncio
import re
from pathlib import Path

import pytest
from cryptography import x509

from mainspring.adapters.peers import certificate_files, tls
from mainspring.adapters.peers.authority import DevelopmentAuthority
from mainspring.adapters.peers.tls import OwnCertificate
from mainspring.engines import opened
from mainspring.kernel.errors import Unavailable
from mainspring.ports.peers import Owned
from mainspring.runtime.metrics.gauges import watch_peers
from tests.adapters.peers.owner import OPERATIONS, Notes
from tests.adapters.peers.test_owners import LONG, READ, SOURCES
from tests.deadline import DEADLINE_S
from tests.until import until


async def test_metrics_tell_how_owners_stand_and_when_the_certificate_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_EVERY_S", 0.0)
    authority = DevelopmentAuthority(tmp_path, SOURCES.clock)
    authority.init("shop.internal")
    authority.issue(["gateway", "users"], 24)
    own = OwnCertificate(tmp_path / "gateway", SOURCES.clock)
    notes = Notes()
    listener = opened("listener", "grpc://127.0.0.1:0", SOURCES)
    await listener.start(
        Owned(OPERATIONS, notes), OwnCertificate(tmp_path / "users", SOURCES.clock)
    )
    peer = opened("peers", listener.url, SOURCES)
    await peer.open_peer(OPERATIONS, own, "users")
    telemetry = opened("telemetry", "rollups:", SOURCES)
    watch_peers(telemetry, {"notes": peer}, own)

    async def shown(name: str) -> float:
        text = (await telemetry.text()).decode()
        found = re.search(rf"^mainspring_{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        assert found is not None, text
        return float(found[1])

    try:
        notes.answers.clear()
        waiting = asyncio.create_task(peer.invoke(LONG))
        await asyncio.wait_for(notes.called(1), DEADLINE_S)
        assert await shown("peer_pending_calls") == 1
        assert await shown("peer_away") == 0
        notes.answers.set()
        await waiting
        assert await shown("peer_pending_calls") == 0
        before_s = await shown("certificate_expiry_timestamp_seconds")
        files = certificate_files.read(tmp_path / "gateway")
        leaf = x509.load_pem_x509_certificate(files.chain)
        assert before_s == leaf.not_valid_after_utc.timestamp()
        authority.issue(["gateway"], 48)

        async def later() -> bool:
            return await shown("certificate_expiry_timestamp_seconds") > before_s

        await until(later)
        await listener.drain(0)
        await until(lambda: peer.away() is not None)
        with pytest.raises(Unavailable):
            await peer.invoke(READ)
        assert await shown("peer_away") == 1
        assert await shown("peer_retries_total") + await shown("peer_refusals_total") > 0
    finally:
        await peer.close()
        await listener.drain(0)
