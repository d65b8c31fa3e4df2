"""Regions, peers, shards and their servers."""

from __future__ import annotations

from ipaddress import ip_address

from config.checks.names import check_known, check_plain
from config.findings import Findings, KeyPath, item
from config.settings import Address, ServerTls, Settings, ShardSettings
from config.words import Flavour, TlsMode


def check_regions(settings: Settings, findings: Findings) -> None:
    check_plain(findings, "regions", settings.regions)
    regions = findings.declared("regions")
    if settings.region:
        check_known(findings, ("region",), settings.region, regions, "region")
    _zones_differ(settings, findings)
    _certificate_names_differ(settings, findings)
    _peers_are_reachable(settings, findings)


def _zones_differ(settings: Settings, findings: Findings) -> None:
    owners: dict[str, str] = {}
    for region, given in settings.regions.items():
        for zone in given.zones:
            if owners.setdefault(zone, region) != region:
                findings.add(("regions", region, "zones"), f"zone {zone} is already region {owners[zone]}'s")


def _certificate_names_differ(settings: Settings, findings: Findings) -> None:
    """A certificate must say which region it is from."""
    owners: dict[str, str] = {}
    for region, given in settings.regions.items():
        for name in given.peer.names or (region,) if given.peer else ():
            if owners.setdefault(name, region) != region:
                message = f"the certificate name {name} is already region {owners[name]}'s"
                findings.add(("regions", region, "peer", "names"), message)


def _peers_are_reachable(settings: Settings, findings: Findings) -> None:
    """Shards abroad are reached through their region's Fairlead, over mutual TLS."""
    if settings.region not in settings.regions:
        return
    for region in sorted(_regions_used(settings) & set(settings.regions) - {settings.region}):
        if settings.regions[region].peer is None:
            findings.add(
                ("regions", region),
                "peer is missing, and keyspaces lie on shards of this region",
                "Say where its Fairlead is: peer: {host: …, port: …}",
            )
        if settings.peer_tls is None and "peer_tls" not in findings.declared():
            findings.add(
                (),
                f"peer_tls is missing, and keyspaces lie on shards of region {region}",
                "Regions reach each other over mutual TLS only",
            )


def _regions_used(settings: Settings) -> set[str]:
    """The regions of all shards that keyspaces lie on."""
    return {
        settings.shards[name].region
        for keyspace in settings.keyspaces.values()
        for name in keyspace.shards
        if name in settings.shards
    }


def check_shards(settings: Settings, findings: Findings) -> None:
    check_plain(findings, "shards", settings.shards)
    for name, shard in settings.shards.items():
        known = check_known(
            findings, ("shards", name, "region"), shard.region, findings.declared("regions"), "region"
        )
        if known and shard.region == settings.region:
            _local_shard_is_complete(name, shard, findings)
        _replicas_may_stand_there(settings, name, shard, findings)
        _tls_fits(name, shard.tls, findings)
        _header_fits(name, shard, findings)
        written = "idle" in findings.declared("shards", name, "limits")
        if written and shard.limits.idle > shard.limits.connections:
            findings.add(("shards", name, "limits", "idle"), "more than limits.connections")
    _servers_differ(settings, findings)


def _header_fits(name: str, shard: ShardSettings, findings: Findings) -> None:
    given, path = shard.proxy_protocol, ("shards", name, "proxy_protocol")
    if given is None:
        return
    if shard.flavour is not Flavour.MARIADB:
        findings.add(path, f"{shard.flavour.value} servers do not take PROXY protocol headers", "Only MariaDB's do")
    elif given != "local":
        try:
            ip_address(given)
        except ValueError:
            findings.add(path, f"{given!r} is neither `local` nor an address", "Write one like 10.0.0.5")


def _local_shard_is_complete(name: str, shard: ShardSettings, findings: Findings) -> None:
    written = findings.declared("shards", name)
    for part in ("primary", "account"):
        if part not in written:
            findings.add(("shards", name), f"{part} is missing, and the shard is in this Fairlead's region")


def _replicas_may_stand_there(settings: Settings, name: str, shard: ShardSettings, findings: Findings) -> None:
    """Abroad only under a policy: whether it allows the rows there is `router.policy.placement`'s to say."""
    check_zone(settings, findings, ("shards", name, "zone"), shard.region, shard.zone)
    for index, replica in enumerate(shard.replicas):
        path = ("shards", name, "replicas", item(index))
        if replica.region not in (None, shard.region):
            if "policy" not in findings.declared():
                findings.add(
                    (*path, "region"),
                    f"a replica in region {replica.region} of a shard in region {shard.region}",
                    "Rows may leave their region only where a policy says so",
                )
            elif not check_known(
                findings, (*path, "region"), str(replica.region), findings.declared("regions"), "region"
            ):
                continue
        check_zone(settings, findings, (*path, "zone"), replica.region or shard.region, replica.zone)


def check_zone(settings: Settings, findings: Findings, path: KeyPath, region: str, zone: str | None) -> None:
    """Adds 'there is no zone …' when the region is known and has no such zone."""
    if zone is not None and region in settings.regions:
        check_known(findings, path, zone, settings.regions[region].zones, "zone")


def _tls_fits(name: str, tls: ServerTls, findings: Findings) -> None:
    path = ("shards", name, "tls")
    if (tls.cert is None) != (tls.key is None):
        findings.add(path, "cert and key belong together")
    for option in ("ca", "name"):
        if getattr(tls, option) is not None and tls.mode is not TlsMode.VERIFY:
            findings.add((*path, option), f"is not looked at with mode: {tls.mode}", "Say mode: verify")


def _servers_differ(settings: Settings, findings: Findings) -> None:
    """One server twice in a shard, or under two shards of a keyspace, would give rows twice."""
    for name, shard in settings.shards.items():
        seen: set[Address] = set()
        for address in _addresses(shard):
            if address in seen:
                findings.add(("shards", name), f"the server {address} is named twice")
            seen.add(address)
    for title, keyspace in settings.keyspaces.items():
        owners: dict[Address, str] = {}
        for name in keyspace.shards:
            for address in _addresses(settings.shards[name]) if name in settings.shards else []:
                if owners.setdefault(address, name) != name:
                    message = f"{address} is a server of shard {owners[address]} too, in keyspace {title}"
                    findings.add(("shards", name), message)


def _addresses(shard: ShardSettings) -> list[Address]:
    return [*([shard.primary] if shard.primary else []), *(replica.address for replica in shard.replicas)]
