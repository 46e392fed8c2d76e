"""The controller's telemetry: spans of calls and assignments, and what is sent to a collector."""
