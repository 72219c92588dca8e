"""Where archives go: each sink drives an export and leaves either the whole archive or nothing."""
