"""The HTTP and websocket endpoints, one package for each family."""
