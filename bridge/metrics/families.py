"""Metric families of Prometheus from plain numbers: quantiles, closed sets of labels, histograms."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from bridge.base.counters import Histogram

QUANTILES = (0.5, 0.95, 1.0)


def quantile_values(values: Iterable[float], quantiles: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Nearest-rank quantiles; none over an empty collection, for there is no such value."""
    ordered = sorted(values)
    for quantile in quantiles if ordered else ():
        rank = max(1, math.ceil(quantile * len(ordered)))
        yield f"{quantile:g}", ordered[rank - 1]


def quantiles(
    name: str, text: str, values: Iterable[float], quantiles: Sequence[float] = QUANTILES
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["quantile"])
    for quantile, value in quantile_values(values, quantiles):
        family.add_metric([quantile], value)
    return family


def labelled_counter(
    name: str, text: str, label: str, words: Iterable[str], counts: Mapping[str, int]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    # From zero on, because Prometheus does not see a series that begins at one as an increase.
    totals = Counter(dict.fromkeys(words, 0))
    for key, count in counts.items():
        # negotiation-failed:<which> counts with its family.
        totals[key.partition(":")[0]] += count
    for key, count in totals.items():
        family.add_metric([key], count)
    return family


def labelled_gauge(name: str, text: str, label: str, words: Iterable[str], found: Iterable[str]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    counts = Counter(found)
    for word in words:
        family.add_metric([word], counts[word])
    return family


def histogram_family(name: str, text: str, histogram: Histogram) -> Metric:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", total))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.sum)
