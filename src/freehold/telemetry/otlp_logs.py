"""Log lines to a collector, beside standard error: as records with a level, the ids they are about, and no secret."""

from __future__ import annotations

import logging
from typing import Any

from freehold.telemetry.logs import ids_in, without_secrets
from freehold.telemetry.settings import GIVE_UP_S, TelemetrySettings, collector_of

_OF_THE_WAY = ("opentelemetry", "urllib3", "requests")
"""Who sends; what these have to say would be sent by themselves, and so on."""
_WAITING = 2048
_SEVERITY = {logging.DEBUG: 5, logging.INFO: 9, logging.WARNING: 13, logging.ERROR: 17, logging.CRITICAL: 21}
_ATTRIBUTES = {
    "request_id": "freehold.request_id",
    "session_id": "gen_ai.conversation.id",
    "batch_id": "freehold.batch_id",
    "key_id": "freehold.key_id",
}


class LogsExport(logging.Handler):
    """A handler of log records; sends them in batches, in a thread; what is too much for a collector is dropped."""

    def __init__(self, settings: TelemetrySettings, version: str) -> None:
        """Raises `ImportError` where the extra is not installed."""
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.resources import Resource

        super().__init__(logging.WARNING)
        address, headers = collector_of(settings)
        exporter = OTLPLogExporter(endpoint=f"{address}/v1/logs", headers=headers, timeout=GIVE_UP_S)
        resource = Resource({"service.name": settings.service_name, "service.version": version})
        self._provider = LoggerProvider(resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(
            BatchLogRecordProcessor(exporter, schedule_delay_millis=1000, max_queue_size=_WAITING)
        )

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        if record.name.startswith(_OF_THE_WAY):
            return
        try:
            self._send(record)
        except Exception:  # noqa: BLE001 - the outer edge of a log line; what follows says what went wrong
            self.handleError(record)

    def close(self) -> None:
        """Send what waits. Blocks."""
        self._provider.shutdown()
        super().close()

    def _send(self, record: logging.LogRecord) -> None:
        from opentelemetry._logs import SeverityNumber

        text = without_secrets(record.getMessage())
        attributes: dict[str, Any] = {_ATTRIBUTES[field]: value for field, value in ids_in(text).items()}
        if record.exc_info and record.exc_info[0] is not None:
            told = logging.Formatter().formatException(record.exc_info)
            attributes["exception.type"] = record.exc_info[0].__name__
            attributes["exception.stacktrace"] = without_secrets(told)
        self._provider.get_logger(record.name).emit(
            timestamp=int(record.created * 1e9),
            severity_number=SeverityNumber(_SEVERITY.get(record.levelno, 9)),
            severity_text=record.levelname,
            body=text,
            attributes=attributes,
        )
