"""``/v1``: request schemas, endpoints and serializers."""
