"""ASGI: its types, requests and responses, and running on asyncio servers."""
