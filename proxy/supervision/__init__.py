"""The supervisor and what only it does: ports, children, configuration versions, succession, the admin process."""
