"""MySQL 9.7 servers, from Debian sid unpacked beside the system: Debian's stable releases have none."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pymysql

from loadtest.world import debian_sid, templates
from loadtest.world.sqlserver import (
    ACCOUNT_HOST,
    OWN_PRIVILEGES,
    OWN_SCHEMA,
    REPLICATION_USER,
    SERVICE_USER,
    Passwords,
    ServerMissing,
    SqlServer,
)

SERIES = "9.7."
UNPACKED = "mysql-sid"
PACKAGES = ["mysql-server-core", "mysql-client-core"]
FILES = ("--innodb-data-file-path=ibdata1:8M:autoextend", "--innodb-redo-log-capacity=32M")


class MySQL97(SqlServer):
    flavour = "mysql"

    def template(self) -> Path:
        return _template()

    def command(self) -> list[str]:
        durable = self.tuning.durable
        options = [
            *server_command(),
            f"--datadir={self.datadir}",
            f"--tmpdir={self.tmpdir}",
            f"--socket={self.socket}",
            f"--pid-file={self.datadir / 'mysqld.pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--mysqlx=OFF",
            "--skip-name-resolve",
            "--local-infile=ON",  # as MariaDB is
            "--default-time-zone=+00:00",
            *FILES,
            f"--innodb-buffer-pool-size={self.tuning.buffer_pool_mib}M",
            "--innodb-buffer-pool-load-at-startup=OFF",
            "--innodb-buffer-pool-dump-at-shutdown=OFF",
            f"--innodb-flush-log-at-trx-commit={1 if durable else 2}",
            f"--innodb-flush-method={'O_DIRECT' if durable else 'O_DIRECT_NO_FSYNC'}",
            # The kernel gives out 65,536 places for asynchronous I/O in all (fs.aio-max-nr), a server takes
            # thousands, and one that finds none left does not start.
            "--innodb-use-native-aio=OFF",
            "--innodb-fast-shutdown=2",
            # Replication's tables need the performance schema; statement histories and digests nobody reads
            # here, and they cost 100 MB a server.
            "--performance-schema-digests-size=200",
            "--performance-schema-events-statements-history-long-size=10",
            "--innodb-log-buffer-size=8M",
            "--table-open-cache=400",
            "--table-definition-cache=400",
            f"--max-connections={self.tuning.max_connections}",
            "--max-allowed-packet=256M",
            "--back-log=512",
            "--log-bin=binlog",
            f"--sync-binlog={1 if durable else 0}",
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
            f"--server-id={self.server_id}",
            f"--read-only={'ON' if self.starts_read_only else 'OFF'}",
            *self.tuning.extra,
        ]
        if self.tls is not None:
            options += [
                f"--ssl-ca={self.tls.ca}",
                f"--ssl-cert={self.tls.certificate}",
                f"--ssl-key={self.tls.key}",
            ]
        return options

    def set_read_only(self, on: bool) -> None:
        self.run(f"SET GLOBAL read_only = {int(on)}")

    def replicate_from(self, source: SqlServer) -> None:
        # caching_sha2_password without TLS needs the source's RSA key: GET_SOURCE_PUBLIC_KEY.
        self.run(
            "STOP REPLICA",
            f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={source.port}, "
            f"SOURCE_USER='{REPLICATION_USER}', SOURCE_PASSWORD='{Passwords().replication}', "
            "SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, "
            "GET_SOURCE_PUBLIC_KEY=1",
            "START REPLICA",
        )

    def stop_replication(self) -> None:
        self.run("STOP REPLICA", "RESET REPLICA ALL")

    def replication_source(self) -> int | None:
        with (
            self.connection(cursorclass=pymysql.cursors.DictCursor) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SHOW REPLICA STATUS")
            row = cursor.fetchone()
        if row is None or row["Replica_SQL_Running"] != "Yes" or row["Replica_IO_Running"] == "No":
            return None
        return int(row["Source_Port"])

    def position(self) -> str:
        return str(self.value("SELECT @@global.gtid_executed")).replace("\n", "")

    def wait_for(self, position: str, timeout: float = 30.0) -> bool:
        return bool(self.value(f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {timeout})") == 0)


@functools.cache
def root() -> Path:
    """The unpacked packages. Raises ServerMissing, also when sid has moved on to another series."""
    path = debian_sid.unpack(UNPACKED, PACKAGES)
    found = version(path)
    if f" {SERIES}" not in found:
        raise ServerMissing(f"MySQL {SERIES}x is wanted, Debian sid gave: {found}. Delete {path} to retry")
    return path


@functools.cache
def version(path: Path) -> str:
    """As `mysqld --version` prints it."""
    argv = [*debian_sid.loader(path), str(path / "usr" / "sbin" / "mysqld"), "--no-defaults", "--version"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def client_command() -> list[str]:
    """MySQL's own `mysql` client, without option files."""
    return [*debian_sid.loader(root()), str(root() / "usr" / "bin" / "mysql"), "--no-defaults"]


def server_command() -> list[str]:
    base = root()
    user = ["--user=root"] if os.getuid() == 0 else []
    return [
        *debian_sid.loader(base),
        str(base / "usr" / "sbin" / "mysqld"),
        "--no-defaults",
        *user,
        f"--basedir={base / 'usr'}",
        f"--lc-messages-dir={base / 'usr' / 'share' / 'mysql'}",
        f"--character-sets-dir={base / 'usr' / 'share' / 'mysql' / 'charsets'}",
        f"--plugin-dir={base / 'usr' / 'lib' / 'mysql' / 'plugin'}",
        "--secure-file-priv=",
    ]


def _accounts() -> str:
    # --init-file takes one statement a line.
    passwords = Passwords()
    service, replica = f"{SERVICE_USER}@'{ACCOUNT_HOST}'", f"{REPLICATION_USER}@'{ACCOUNT_HOST}'"
    return (
        f"CREATE USER {service} IDENTIFIED BY '{passwords.service}';\n"
        f"GRANT REPLICATION CLIENT ON *.* TO {service};\n"
        f"GRANT XA_RECOVER_ADMIN ON *.* TO {service};\n"
        f"GRANT {OWN_PRIVILEGES} ON {OWN_SCHEMA}.* TO {service};\n"
        f"CREATE USER {replica} IDENTIFIED BY '{passwords.replication}';\n"
        f"GRANT REPLICATION SLAVE ON *.* TO {replica};\n"
    )


def _template() -> Path:
    accounts = _accounts()
    return templates.template(
        "mysql", "\n".join([version(root()), *FILES, accounts]), lambda path: _initialise(path, accounts)
    )


def _initialise(path: Path, accounts: str) -> None:
    script = path.with_suffix(".sql")
    script.write_text(accounts)
    argv = [*server_command(), "--initialize-insecure", f"--datadir={path}", f"--init-file={script}", *FILES]
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise ServerMissing(f"mysqld --initialize failed:\n{error.stderr}") from error
    finally:
        script.unlink()
    # Each copy makes its own server_uuid: two servers with one uuid refuse to replicate.
    (path / "auto.cnf").unlink(missing_ok=True)


def main() -> int:
    """Downloads MySQL when it is not here yet and says where it is; never fails for want of it."""
    try:
        if not (templates.cache_directory() / UNPACKED).exists():
            print("Fetching MySQL 9.7 of Debian sid (some 66 MB, once) into the cache …", flush=True)
        path = root()
    except ServerMissing as missing:
        print(f"MySQL 9.7 IS MISSING, its tests will be skipped. {missing}", file=sys.stderr)
    else:
        print(f"{version(path).partition('Ver ')[2]} in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
