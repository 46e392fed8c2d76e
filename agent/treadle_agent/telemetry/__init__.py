"""The agent's telemetry: what it sends to a collector, and its page for Prometheus."""
