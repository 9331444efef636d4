"""sentq and stock Celery with a Redis in another zone: over networks with latency and loss, and
behind Sentinel while the master fails. Uses the network namespaces of `tests.support.network`."""
