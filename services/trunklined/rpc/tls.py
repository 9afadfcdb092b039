"""ServerTls: the certificate with which a program serves, read anew when its files change."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import grpc
import structlog
from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from trunkline.errors import TlsError
from trunkline.tls.pem import KeyPair, check_time, load_authorities, load_key_pair, state_of
from trunklined.access.audit import AuditLog, Outcome

LOOK_SECONDS: Final = 5.0
"""How often files are looked at where nobody connects: so a bad replacement is told when it is made."""
ENDING_SHARE: Final = 0.1
"""Of its whole time, what is left of a certificate when its end is told."""

_NAMES: Final = ("tls_cert", "tls_key")


class ServerTls(Collector):
    """Serves TLS (1.2 or 1.3), and knows when its files change: connections that come after that get the new
    certificate, those that are there stay. Files that cannot be taken change nothing but the log and the metrics.

    Args:
        certificate, key: each a PEM file or PEM.
        client_authorities: who may sign clients' certificates, the same; then every client must show one. Empty: no
            client is asked.
        audit: where it is recorded that files were read anew, or could not be taken.

    Raises:
        TlsError: they cannot be read or taken, or the certificate is over.
    """

    def __init__(self, certificate: str, key: str, client_authorities: str, audit: AuditLog) -> None:
        self._sources = (certificate, key, client_authorities)
        self._lock = threading.Lock()
        self._state = self._look()
        self._pair, self._authorities = self._load()
        self._served = (self._pair, self._authorities)
        """What gRPC was given last."""
        self._audit = audit
        self._renewals = self._failures = 0
        self._unrecorded: deque[tuple[Outcome, dict[str, str]]] = deque()
        """What happened to the files, in gRPC's threads, and is not in the audit log yet."""
        self._is_bad = False
        """Whether the files of now cannot be taken."""
        self._told: str | None = None
        """What was said of the certificate's end."""

    @property
    def ends(self) -> datetime:
        """When the certificate ends."""
        return self._pair.ends

    def credentials(self) -> grpc.ServerCredentials:
        """Returns what gRPC serves with. It asks again at each connection."""
        changed: Any = self._changed  # the stubs do not know that None means: as before
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(), changed, require_client_authentication=bool(self._authorities)
        )

    async def watch(self) -> None:
        """Looks at the files, and at the certificate's end, every few seconds, until it is cancelled."""
        while True:
            self._tell_end()
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self._renew)
            while self._unrecorded:
                outcome, facts = self._unrecorded.popleft()
                self._audit.changed("reload TLS files", outcome, **facts)

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics. Runs in the metrics server's thread."""
        yield GaugeMetricFamily(
            "trunkline_tls_certificate_end_seconds", "When the certificate ends, as UNIX time.", self.ends.timestamp()
        )
        yield GaugeMetricFamily(
            "trunkline_tls_files_bad", "Whether the files of now cannot be taken: older ones serve.", int(self._is_bad)
        )
        yield CounterMetricFamily("trunkline_tls_renewals", "Certificates that replaced others.", self._renewals)
        yield CounterMetricFamily("trunkline_tls_failures", "Replacements that could not be taken.", self._failures)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks at each connection, in a thread of its own: other certificates than before, or None."""
        self._renew()
        with self._lock:
            now = (self._pair, self._authorities)
            if now == self._served:
                return None
            self._served = now
            return self._configuration()

    def _renew(self) -> None:
        """Reads the files where they have changed."""
        with self._lock:
            state = self._look()
            if state == self._state:
                return
            self._state = state
            log = structlog.get_logger()
            try:
                self._pair, self._authorities = self._load()
            except TlsError as error:
                self._failures += 1
                self._is_bad = True
                log.error("TLS files cannot be taken; those of before serve on", reason=error.message)
                self._unrecorded.append(("failed", {"why": error.message}))
                return
            self._renewals += 1
            self._is_bad = False
            log.info("TLS files were read anew", certificate=self._pair.subject, ends=_shown(self.ends))
            self._unrecorded.append(("done", {"certificate": self._pair.subject}))

    def _tell_end(self) -> None:
        pair = self._pair
        now = datetime.now(UTC)
        if now > pair.ends:
            word = "the certificate has expired: clients refuse it"
        elif (pair.ends - now) < ENDING_SHARE * (pair.ends - pair.begins):
            word = "the certificate ends soon"
        else:
            word = None
        if word is not None and word != self._told:
            structlog.get_logger().warning(word, certificate=pair.subject, ends=_shown(pair.ends))
        self._told = word

    def _load(self) -> tuple[KeyPair, bytes | None]:
        certificate, key, authorities = self._sources
        pair = load_key_pair(certificate, key, names=_NAMES)
        check_time(pair, certificate, _NAMES[0])
        return pair, load_authorities(authorities, "tls_client_ca") if authorities else None

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = self._pair
        return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], self._authorities)

    def _look(self) -> tuple[object, ...]:
        return state_of(filter(None, self._sources))


def _shown(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
