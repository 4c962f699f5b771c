"""Prometheus collectors that read plain counters and the live objects when they are scraped.

Nothing is measured here and no label is free text: label values come from closed sets, so that neither a
patient's nor a hospital's name can reach a time series. `bridge.server` imports from here; nobody else does.
"""

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from bridge.metrics.live import BridgeCollector
from bridge.metrics.record import RecordCollector

__all__ = ["BridgeCollector", "RecordCollector", "registry"]


def registry(*collectors: Collector) -> CollectorRegistry:
    """Return a registry with the bridge's own metrics and those of the process."""
    result = CollectorRegistry()
    for collector in collectors:
        result.register(collector)
    ProcessCollector(registry=result)
    PlatformCollector(registry=result)
    GCCollector(registry=result)
    return result
