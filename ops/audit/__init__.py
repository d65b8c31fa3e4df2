"""Decision records: who was shown what of which home, and by which rule.

`log.AuditLog` writes them, one writer per worker and legal domain; `verify` and `report` read them. docs/audit.md
tells the format and what it proves.
"""
