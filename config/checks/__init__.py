"""Do the parts of a configuration fit together? One file per part; each adds what it finds to the findings.

Every check works on whatever could be read: a name counts as known when it is written down, even if what it
holds was wrong, so that one mistake is reported once.
"""

from config.checks.audit import check_audit
from config.checks.keyspaces import check_keyspaces
from config.checks.listeners import check_listeners
from config.checks.policy import check_policy
from config.checks.redis import check_redis
from config.checks.shards import check_regions, check_shards
from config.checks.users import check_users
from config.findings import Findings
from config.settings import Settings


def check(settings: Settings, findings: Findings) -> None:
    """All checks that need nothing but the settings."""
    check_regions(settings, findings)
    check_shards(settings, findings)
    check_keyspaces(settings, findings)
    check_users(settings, findings)
    check_listeners(settings, findings)
    check_policy(settings, findings)
    check_redis(settings, findings)
    check_audit(settings, findings)
