"""MariaDB servers (Debian's mariadb-server)."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pymysql

from loadtest.world import templates
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

WANTED = "mariadb-server (apt-get install mariadb-server)"
# One set of InnoDB files for the template and every copy: their sizes must agree.
FILES = (
    "--innodb-log-file-size=16M",
    "--innodb-data-file-path=ibdata1:8M:autoextend",
    "--innodb-autoextend-increment=1",
)
MASTER_GTID_WAIT_TIMED_OUT = -1


class MariaDB(SqlServer):
    flavour = "mariadb"

    def template(self) -> Path:
        return _template()

    def command(self) -> list[str]:
        durable = self.tuning.durable
        options = [
            program(),
            "--no-defaults",
            *_as_user(),
            f"--datadir={self.datadir}",
            f"--tmpdir={self.tmpdir}",
            f"--socket={self.socket}",
            f"--pid-file={self.datadir / 'mariadbd.pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            "--default-time-zone=+00:00",
            *FILES,
            f"--innodb-buffer-pool-size={self.tuning.buffer_pool_mib}M",
            "--innodb-buffer-pool-load-at-startup=0",
            "--innodb-buffer-pool-dump-at-shutdown=0",
            "--innodb-temp-data-file-path=ibtmp1:4M:autoextend",
            f"--innodb-flush-log-at-trx-commit={1 if durable else 2}",
            f"--innodb-flush-method={'O_DIRECT' if durable else 'O_DIRECT_NO_FSYNC'}",
            "--innodb-fast-shutdown=2",
            "--performance-schema=OFF",
            f"--max-connections={self.tuning.max_connections}",
            "--max-allowed-packet=256M",
            "--back-log=512",
            "--log-bin=binlog",
            f"--sync-binlog={1 if durable else 0}",
            "--binlog-format=ROW",
            "--log-slave-updates",
            f"--server-id={self.server_id}",
            f"--gtid-domain-id={self.domain}",
            "--gtid-strict-mode",
            f"--read-only={1 if self.starts_read_only else 0}",
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
        self.run(
            "STOP SLAVE",
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={source.port}, "
            f"MASTER_USER='{REPLICATION_USER}', MASTER_PASSWORD='{Passwords().replication}', "
            "MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
            "START SLAVE",
        )

    def stop_replication(self) -> None:
        self.run("STOP SLAVE", "RESET SLAVE ALL")

    def replication_source(self) -> int | None:
        with (
            self.connection(cursorclass=pymysql.cursors.DictCursor) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SHOW SLAVE STATUS")
            row = cursor.fetchone()
        if row is None or row["Slave_SQL_Running"] != "Yes" or row["Slave_IO_Running"] == "No":
            return None
        return int(row["Master_Port"])

    def position(self) -> str:
        return str(self.value("SELECT @@global.gtid_current_pos"))

    def wait_for(self, position: str, timeout: float = 30.0) -> bool:
        if not position:
            return True
        return bool(
            self.value(f"SELECT MASTER_GTID_WAIT('{position}', {timeout})") != MASTER_GTID_WAIT_TIMED_OUT
        )


@functools.cache
def program() -> str:
    """The server's path. Raises ServerMissing."""
    path = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise ServerMissing(f"mariadbd is not on this machine; wanted: {WANTED}")
    return path


@functools.cache
def version() -> str:
    """As `mariadbd --version` prints it."""
    return subprocess.run([program(), "--version"], check=True, capture_output=True, text=True).stdout.strip()


def _as_user() -> list[str]:
    # mariadbd refuses to run as root unless told so; as anybody else it must not be told.
    return ["--user=root"] if os.getuid() == 0 else []


def _accounts() -> str:
    passwords = Passwords()
    service, replica = f"{SERVICE_USER}@'{ACCOUNT_HOST}'", f"{REPLICATION_USER}@'{ACCOUNT_HOST}'"
    return (
        "FLUSH PRIVILEGES;\n"
        f"CREATE USER {service} IDENTIFIED BY '{passwords.service}';\n"
        f"GRANT BINLOG MONITOR, SLAVE MONITOR ON *.* TO {service};\n"
        f"GRANT {OWN_PRIVILEGES} ON {OWN_SCHEMA}.* TO {service};\n"
        f"CREATE USER {replica} IDENTIFIED BY '{passwords.replication}';\n"
        f"GRANT REPLICATION SLAVE ON *.* TO {replica};\n"
        "DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost';\n"
        "DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost';\n"
        "FLUSH PRIVILEGES;\n"
    )


def _template() -> Path:
    accounts = _accounts()
    return templates.template(
        "mariadb", "\n".join([version(), *FILES, accounts]), lambda path: _install(path, accounts)
    )


def _install(path: Path, accounts: str) -> None:
    extra = path.with_suffix(".sql")
    extra.write_text(accounts)
    installer = shutil.which("mariadb-install-db") or shutil.which("mysql_install_db")
    if installer is None:
        raise ServerMissing(f"mariadb-install-db is not on this machine; wanted: {WANTED}")
    argv = [
        installer,
        "--no-defaults",
        *_as_user(),
        f"--datadir={path}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        f"--extra-file={extra}",
        *FILES,
    ]
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise ServerMissing(f"mariadb-install-db failed:\n{error.stdout}\n{error.stderr}") from error
    finally:
        extra.unlink()
