"""The HTTP side: metrics for Prometheus, health for whoever keeps the process alive."""
