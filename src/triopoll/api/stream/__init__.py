"""Durable Streams over HTTP."""
