"""Reading good configurations: folders, anchors, secrets, regions, notations, and hostile input."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import ConfigError
from config.load import load
from config.secrets import Secret, SecretSource
from config.settings import Address, Buckets, ColumnType, GrantTarget, MysqlListener, PeerListener
from config.words import Consistency, Verb

MINIMAL = """\
region: eu
regions: {eu: }
shards:
  eu-0: {region: eu, flavour: mariadb, primary: db1, account: {user: f, password: {value: "x y"}}}
keyspaces:
  shop: {shards: eu-0}
users:
  demo: {password: {value: demo}, grants: [{on: "*.*", verbs: [all, admin]}]}
listeners:
  mysql: {port: 7306}
"""


SHARDED = """\
  shop:
    shards: eu-0
    vindexes: {{h: {}}}
    tables: {{t: {{kind: sharded, vindex: h, columns: {}}}}}
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "fairlead.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def mistakes(path, **options):
    with pytest.raises(ConfigError) as refused:
        load(path, environment={}, **options)
    return [mistake.message for mistake in refused.value.mistakes]


def test_minimal(write):
    path = write(MINIMAL)
    loaded = load(path)
    assert loaded.shards["eu-0"].primary == Address("db1", 3306)
    assert loaded.keyspaces["shop"].shards == ("eu-0",) and loaded.keyspaces["shop"].unsharded
    assert loaded.users["demo"].grants[0].verbs == (Verb.ALL, Verb.ADMIN)
    assert loaded.users["demo"].grants[0].on == GrantTarget(None, None)
    assert loaded.listeners["mysql"].consistency is Consistency.PRIMARY
    assert loaded.files == (path,)
    assert loaded.places["shards", "eu-0", "primary"].line == 4


def test_loading_twice_gives_equal_settings(write):
    path = write(MINIMAL)
    assert load(path) == load(path)


def test_settings_cannot_be_changed(write):
    loaded = load(write(MINIMAL))
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.region = "us"
    with pytest.raises(TypeError):
        loaded.shards["new"] = None


def test_words_are_not_guessed_at(write):
    """YAML 1.1 would read `no`, `on`, `1e3` and `12:30` as something else than text."""
    text = MINIMAL.replace("eu", "no").replace("demo:", "on:").replace("shop", "1e3")
    loaded = load(write(text))
    assert (loaded.region, list(loaded.users), list(loaded.keyspaces)) == ("no", ["on"], ["1e3"])


def test_folders_are_read_as_one(write, tmp_path):
    top, _, users = MINIMAL.partition("users:")
    write(top, "10-topology.yaml")
    write("users:" + users, "20-access.yml")
    write("users:\n  other: {password: {value: x}}\nkeyspaces:\n  wiki: {shards: [eu-0]}\n", "30-more.yaml")
    write("not: read", "notes.txt")
    write("not: read", ".hidden.yaml")
    loaded = load(tmp_path)
    assert list(loaded.users) == ["demo", "other"] and list(loaded.keyspaces) == ["shop", "wiki"]
    assert [file.name for file in loaded.files] == ["10-topology.yaml", "20-access.yml", "30-more.yaml"]


def test_a_name_is_given_in_one_file_only(write, tmp_path):
    write(MINIMAL, "a.yaml")
    write("region: us\nusers:\n  demo: {password: {value: x}}\n", "b.yaml")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path)
    assert [(m.file.name, m.line, m.key) for m in refused.value.mistakes] == [
        ("b.yaml", 1, "region"),
        ("b.yaml", 3, "users.demo"),
    ]
    assert refused.value.message == f"given twice, first in {tmp_path / 'a.yaml'}:1"


def test_an_empty_folder(tmp_path):
    assert mistakes(tmp_path) == ["the folder holds no .yaml file"]


def test_a_missing_file(tmp_path):
    assert mistakes(tmp_path / "none.yaml") == ["No such file or directory"]


def test_anchors_and_merge_keys(write):
    text = MINIMAL.replace("shards:\n", "x-limits: &few {connections: 7, idle: 2}\nshards:\n", 1)
    text = text.replace("primary: db1,", "primary: db1, limits: {<<: *few, idle: 3},")
    limits = load(write(text)).shards["eu-0"].limits
    assert (limits.connections, limits.idle) == (7, 3)


def test_several_listeners(write):
    more = (
        "  readers: {kind: mysql, port: 7307, consistency: eventual, max_lag: 1m30s}\n  http: {port: 7380}\n"
    )
    loaded = load(write(MINIMAL + more))
    readers = loaded.listeners_of(MysqlListener)
    assert list(readers) == ["mysql", "readers"] and readers["readers"].max_lag == 90.0
    assert loaded.listeners_of(PeerListener) == {}


def test_one_port_on_two_addresses(write):
    more = "  other: {kind: mysql, address: 127.0.0.2, port: 7306}\n"
    assert len(load(write(MINIMAL + more)).listeners) == 2


def test_the_region_can_be_overridden(write):
    text = MINIMAL.replace("{eu: }", "{eu: , us: }").replace(
        "keyspaces:", "  us-0: {region: us, flavour: mariadb}\nkeyspaces:"
    )
    path = write(text)
    assert load(path).region == "eu"
    messages = mistakes(path, region="us")
    assert any("primary is missing" in message for message in messages), "us-0 is local now"
    assert any("peer is missing" in message for message in messages), "eu-0 is abroad now"
    assert mistakes(path, region="ap") == ["there is no region ap"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[id]", {"id": None}),
        ("id", {"id": None}),
        ("{id: bigint(20) unsigned}", {"id": ColumnType("bigint", "bigint unsigned")}),
        ("{id: INTEGER}", {"id": ColumnType("int", "int")}),
        ("{id: varchar(9)}", {"id": ColumnType("varchar", "varchar(9)", "utf8mb4_bin")}),
        ("{id: char(2) character set latin1}", {"id": ColumnType("char", "char(2)", "latin1_bin")}),
        (
            "{id: varchar(9) collate utf8mb4_0900_ai_ci}",
            {"id": ColumnType("varchar", "varchar(9)", "utf8mb4_0900_ai_ci")},
        ),
        ("{id: binary(16)}", {"id": ColumnType("binary", "binary(16)")}),
    ],
)
def test_columns(write, written, expected):
    table = SHARDED.format("{function: hash}", written)
    loaded = load(write(MINIMAL.replace("  shop: {shards: eu-0}\n", table)))
    assert dict(loaded.keyspaces["shop"].tables["t"].columns) == expected


def test_buckets(write):
    table = SHARDED.format("{function: hash, buckets: {eu-0: [0-99, 100, 101 - 4095]}}", "id")
    loaded = load(write(MINIMAL.replace("  shop: {shards: eu-0}\n", table)))
    assert loaded.keyspaces["shop"].vindexes["h"].buckets == {
        "eu-0": Buckets(((0, 99), (100, 100), (101, 4095)))
    }


# --- secrets ---


def password_of(path, **environment):
    return load(path, environment=environment).users["demo"].password


def test_secrets_from_the_environment_and_files(write, tmp_path):
    env = write(MINIMAL.replace("{value: demo}", "{env: PW}"))
    assert password_of(env, PW="s3cret").clear.reveal() == "s3cret"
    (tmp_path / "pw").write_text("from file \n")
    file = write(MINIMAL.replace("{value: demo}", "{file: pw}"))
    assert password_of(file).clear.reveal() == "from file "


@pytest.mark.parametrize(
    ("content", "message"), [("", "is empty"), ("\n", "is empty"), ("x" * 5000, "larger than a password")]
)
def test_secret_files_that_cannot_be_right(write, tmp_path, content, message):
    (tmp_path / "pw").write_text(content)
    assert message in mistakes(write(MINIMAL.replace("{value: demo}", "{file: pw}")))[0]


def test_an_empty_variable_is_a_mistake(write):
    with pytest.raises(ConfigError, match="PW is empty"):
        password_of(write(MINIMAL.replace("{value: demo}", "{env: PW}")), PW="")


def test_secrets_may_be_left_unread(write):
    path = write(MINIMAL.replace("{value: demo}", "{env: PW}").replace('{value: "x y"}', "{file: none}"))
    loaded = load(path, secrets=False, environment={})
    assert loaded.users["demo"].password.clear == Secret(SecretSource.ENV, "PW")
    with pytest.raises(ValueError, match="env PW was not read"):
        loaded.users["demo"].password.clear.reveal()


def test_only_secrets_of_the_own_region_are_read(write):
    text = MINIMAL.replace("{eu: }", "{eu: , us: }").replace(
        "keyspaces:",
        "  us-0: {region: us, flavour: mariadb, account: {user: f, password: {env: US}}}\nkeyspaces:",
    )
    assert load(write(text), environment={}).shards["us-0"].account.password.value is None


def test_what_a_server_would_store(write):
    inner = hashlib.sha256(b"demo").digest()
    twice = hashlib.sha256(inner).hexdigest()
    native = "*" + hashlib.sha1(hashlib.sha1(b"demo").digest()).hexdigest().upper()
    clear = password_of(write(MINIMAL))
    hashed = password_of(write(MINIMAL.replace("{value: demo}", f"{{sha256: {twice}, native: '{native}'}}")))
    for password in (clear, hashed):
        assert password.sha256_digest().hex() == twice
        assert "*" + password.native_digest().hex().upper() == native


def test_a_hash_by_reference(write):
    text = MINIMAL.replace("{value: demo}", "{native: {env: PW}}").replace(
        "grants:", "plugins: mysql_native_password, grants:"
    )
    password = password_of(write(text), PW="*6BB4837EB74329105EE4568DDA7DC67ED2CA2AD9")
    assert password.sha256_digest() is None and len(password.native_digest()) == 20


def test_secrets_do_not_show(write):
    loaded = load(write(MINIMAL.replace("value: demo", "value: hunter2")))
    assert "hunter2" not in repr(loaded) and "x y" not in repr(loaded)


def test_settings_with_another_secret_are_different(write):
    one = load(write(MINIMAL))
    assert one != load(write(MINIMAL.replace("value: demo", "value: other")))


# --- hostile input ---


def test_a_thousand_laughs(write):
    levels = "\n".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    text = MINIMAL + f"x-laugh:\n  l0: &l0 ha\n{levels}\nlimits: {{clients: *l11}}\n"
    assert mistakes(write(text)) == ["expected one value, not a list or `key: value` lines"]


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{b: " * 5000, "? " * 3000, "- " * 3000 + "x"])
def test_deep_nesting(write, text):
    with pytest.raises(ConfigError):
        load(write(text))


def test_not_text(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"region: eu\n# \xff\xfe\n")
    assert mistakes(tmp_path / "x.yaml") == ["line 2 is not UTF-8 text"]


def test_a_byte_order_mark_is_welcome(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(tmp_path / "x.yaml").region == "eu"


@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, len(MINIMAL)), st.integers(0, 40), st.text("{}[]:,&*!|>'\"\n\t -#ab0", max_size=12))
def test_damaged_files_are_refused_or_read_but_never_crash(write, start, length, inserted):
    damaged = MINIMAL[:start] + inserted + MINIMAL[start + length :]
    try:
        load(write(damaged), environment={})
    except ConfigError as error:
        assert error.mistakes
