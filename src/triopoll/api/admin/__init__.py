"""``/admin/api/``: what the admin page shows, as JSON (docs/reference/admin.md)."""
