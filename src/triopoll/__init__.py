"""Long polling on slock events and Redis lists, served by Quart-Trio."""
