"""Traces, metrics and logs in OpenTelemetry's words: recording and encoding here, sending in `export`."""
