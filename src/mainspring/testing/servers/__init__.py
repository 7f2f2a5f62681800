"""Real servers for tests: up in a second, owned by the test run, gone with it even after a kill.

Nothing here is a stand-in. What was started is noted in ``STARTED`` so that a run can say so.
"""

from mainspring.testing.servers.ferretdb import FerretServer, ferretdb_program
from mainspring.testing.servers.kafka import KafkaServer, kafka_jars
from mainspring.testing.servers.local_kms import LocalKms, local_kms_program
from mainspring.testing.servers.opensearch import OpenSearchServer, opensearch_jars
from mainspring.testing.servers.pgbouncer import PgBouncer
from mainspring.testing.servers.places import STARTED, free_ports
from mainspring.testing.servers.postgres import PostgresServer, embedded_postgres, system_postgres
from mainspring.testing.servers.seaweed import SeaweedServer, seaweed
from mainspring.testing.servers.valkey import ValkeyServer, valkey_program

__all__ = [
    "STARTED",
    "FerretServer",
    "KafkaServer",
    "LocalKms",
    "OpenSearchServer",
    "PgBouncer",
    "PostgresServer",
    "SeaweedServer",
    "ValkeyServer",
    "embedded_postgres",
    "ferretdb_program",
    "free_ports",
    "kafka_jars",
    "local_kms_program",
    "opensearch_jars",
    "seaweed",
    "system_postgres",
    "valkey_program",
]
