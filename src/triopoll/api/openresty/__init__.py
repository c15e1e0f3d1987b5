"""The endpoints of the OpenResty image: same paths, its parameters and replies."""
