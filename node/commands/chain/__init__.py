"""Commands on a chain: status, export, import, check, purge, repair of the log."""
