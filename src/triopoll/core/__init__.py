"""The use cases: wait, read, publish. No HTTP, and no web framework."""
