"""What Penstock says about itself: metrics for Prometheus, log lines for people."""
