"""``/v1``: request schemas, endpoints and the JSON that they answer with."""
