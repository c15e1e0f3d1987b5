"""triopoll with a span of OpenTelemetry for each request.

Run it with ``triopoll serve traced:app``, or with another ASGI server.
"""

from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

import triopoll

provider = TracerProvider()
# In production: OTLPSpanExporter() of opentelemetry-exporter-otlp.
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)


def hide_query(span: trace.Span, scope: dict[str, Any]) -> None:
    """Leave the query out of the span: it may have a ticket."""
    span.set_attributes({"http.url": scope["path"], "url.query": ""})


app = OpenTelemetryMiddleware(
    triopoll.app,
    server_request_hook=hide_query,
    excluded_urls="/livez,/readyz,/metrics",
    exclude_spans=["receive", "send"],
)
# `triopoll serve` looks for these, to drain the application and to count connections.
app.drain, app.metrics = triopoll.app.drain, triopoll.app.metrics
