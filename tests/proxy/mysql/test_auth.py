"""Scrambles, stored passwords, decoys and the server's exchange, against PyMySQL's arithmetic."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from pymysql import _auth

from proxy.mysql.auth import scramble
from proxy.mysql.auth.accounts import Account, Accounts, ProvenPasswords, Verifier
from proxy.mysql.auth.rsa import RsaKeyPair, encrypt_password
from proxy.mysql.auth.scramble import CACHING_SHA2, NATIVE
from proxy.mysql.auth.server import (
    Ask,
    FirstProof,
    NeedDecryption,
    NeedPublicKey,
    Send,
    Step,
    authenticate,
)
from proxy.mysql.errors import AuthenticationFailed, HandshakeRefused
from proxy.mysql.packets import AuthSwitchRequest

NONCE = bytes(range(1, 21))
PASSWORDS = st.binary(min_size=1, max_size=80)


def test_known_digests() -> None:
    # SELECT PASSWORD('password'), as in MySQL's manual.
    assert scramble.native_digest(b"password").hex().upper() == "2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"
    assert scramble.sha256_digest(b"").hex() == ("5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456")


@given(PASSWORDS)
def test_proofs_are_pymysqls_and_prove(password: bytes) -> None:
    native = scramble.native_scramble(password, NONCE)
    assert native == _auth.scramble_native_password(password, NONCE)
    assert scramble.native_proves(native, NONCE, scramble.native_digest(password))
    fast = scramble.sha256_scramble(password, NONCE)
    assert fast == _auth.scramble_caching_sha2(password, NONCE)
    assert scramble.sha256_proves(fast, NONCE, scramble.sha256_digest(password))


@given(PASSWORDS, st.binary(max_size=40))
def test_nothing_else_proves(password: bytes, proof: bytes) -> None:
    for make, proves, digest in (
        (scramble.native_scramble, scramble.native_proves, scramble.native_digest),
        (scramble.sha256_scramble, scramble.sha256_proves, scramble.sha256_digest),
    ):
        right = make(password, NONCE)
        if proof != right:
            assert not proves(proof, NONCE, digest(password))
        assert not proves(make(password + b"x", NONCE), NONCE, digest(password))
        assert not proves(right, NONCE[::-1], digest(password))


def test_nonces_are_fresh_and_travel_as_c_strings() -> None:
    nonces = {scramble.make_nonce() for _ in range(200)}
    assert len(nonces) == 200
    assert all(len(nonce) == 20 and b"\0" not in nonce and b"$" not in nonce for nonce in nonces)


@given(st.binary(max_size=300))
def test_masking_is_its_own_inverse(data: bytes) -> None:
    assert scramble.mask_with_nonce(scramble.mask_with_nonce(data, NONCE), NONCE) == data


# --- what is stored ----------------------------------------------------------------------------------------


def test_a_verifier_never_shows_what_it_holds() -> None:
    assert "digest" not in repr(Verifier.of_password("secret"))
    assert "5" not in repr(Verifier.of_password("secret"))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Verifier.of_native, "2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"),
        (Verifier.of_native, "*2470"),
        (Verifier.of_native, "*" + "x" * 40),
        (Verifier.of_sha256, "00"),
        (Verifier.of_sha256, "x" * 64),
    ],
)
def test_stored_forms_that_are_none(make: object, text: str) -> None:
    with pytest.raises(ValueError):
        make(text)  # type: ignore[operator]


def test_every_stored_form_knows_its_password() -> None:
    full = Verifier.of_password("pässword")
    assert full.sha256 is not None
    assert full.native is not None
    forms = [full, Verifier.of_sha256(full.sha256.hex()), Verifier.of_native("*" + full.native.hex())]
    for form in forms:
        assert form.matches("pässword".encode())
        assert not form.matches(b"password")
        assert not form.empty
    assert Verifier.of_digests(full.sha256, full.native) == full
    with pytest.raises(ValueError, match="at least one"):
        Verifier.of_digests(None, None)
    assert Verifier.of_password("").empty
    assert Verifier.of_sha256(scramble.sha256_digest(b"").hex()).empty
    assert Verifier.of_native("*" + scramble.native_digest(b"").hex()).empty


def test_an_account_keeps_the_plugins_its_password_can_serve() -> None:
    sha256 = Verifier.of_sha256("00" * 32)
    assert Account("a", sha256, (NATIVE, CACHING_SHA2)).plugins == (CACHING_SHA2,)
    assert Account("a", Verifier.of_native("*" + "00" * 20)).plugins == (CACHING_SHA2, NATIVE)
    with pytest.raises(ValueError, match="cannot serve mysql_native_password"):
        Account("a", sha256, (NATIVE,))
    with pytest.raises(ValueError, match="unknown plugin"):
        Account("a", sha256, ("dialog",))


def test_proved_passwords_are_bounded_and_tied_to_the_stored_hash() -> None:
    proven = ProvenPasswords(limit=3)
    users = [Account(str(n), Verifier.of_native("*" + f"{n:040x}")) for n in range(5)]
    for user in users[:3]:
        proven.add(user, b"x")
    assert proven.find(users[0]) == scramble.sha256_digest(b"x")  # used now, so not the oldest
    proven.add(users[3], b"x")
    assert len(proven) == 3
    assert proven.find(users[1]) is None
    assert proven.find(users[0]) is not None
    changed = Account("0", Verifier.of_native("*" + "f" * 40))
    assert proven.find(changed) is None


# --- unknown users -----------------------------------------------------------------------------------------


def test_a_decoy_looks_like_some_account_and_always_the_same() -> None:
    full = Verifier.of_password("x")
    assert full.native is not None
    patterns = [
        Account("sha2", Verifier.of_sha256("11" * 32)),
        Account("native", Verifier.of_native("*" + full.native.hex()), (NATIVE,)),
        Account("empty", Verifier.of_password(b""), (NATIVE, CACHING_SHA2)),
    ]
    accounts = Accounts(patterns, secret=b"s" * 32)
    again = Accounts(patterns, secret=b"s" * 32)
    shapes = set()
    for number in range(100):
        decoy = accounts.find(f"user{number}")
        assert decoy == again.find(f"user{number}")
        assert not decoy.known
        assert not decoy.verifier.empty
        shapes.add((decoy.plugins, decoy.verifier.sha256 is not None, decoy.verifier.native is not None))
    assert shapes == {
        ((CACHING_SHA2,), True, False),
        ((NATIVE,), False, True),
        ((NATIVE, CACHING_SHA2), True, True),
    }
    assert Accounts(patterns).find("user1") != accounts.find("user1")  # another process tree
    assert accounts.find("sha2") is patterns[0]
    assert not Accounts([]).find("anybody").known
    assert not accounts.find("surrog\udcffate").known


# --- the exchange, step by step ----------------------------------------------------------------------------


def walk(
    account: Account,
    first: FirstProof,
    answers: Iterable[bytes] = (),
    *,
    secure: bool = False,
    proven: ProvenPasswords | None = None,
) -> tuple[list[Step], str]:
    """Feed the answers; the steps taken and the plugin that succeeded."""
    proven = ProvenPasswords() if proven is None else proven
    steps = authenticate(account, first, secure=secure, proven=proven)
    taken = []
    waiting = list(answers)
    try:
        step = next(steps)
        while True:
            taken.append(step)
            # IndexError: it asks for more than the test has.
            step = steps.send(b"" if isinstance(step, Send) else waiting.pop(0))
    except StopIteration as finished:
        return taken, finished.value.plugin


ANN = Account("ann", Verifier.of_password("pw"))


def proof(plugin: str | None = CACHING_SHA2, password: bytes = b"pw", greeting: str = CACHING_SHA2) -> FirstProof:
    make = scramble.sha256_scramble if plugin == CACHING_SHA2 else scramble.native_scramble
    return FirstProof(plugin, make(password, NONCE), greeting, NONCE)


def test_the_fast_path_is_one_packet() -> None:
    assert walk(ANN, proof()) == ([Send(b"\x01\x03")], CACHING_SHA2)


def test_the_native_proof_needs_none() -> None:
    assert walk(ANN, proof(NATIVE, greeting=NATIVE)) == ([], NATIVE)
    assert walk(ANN, proof(None)) == ([], NATIVE)


def test_full_exchange_over_a_secure_channel() -> None:
    native = Account("ann", Verifier.of_native("*" + scramble.native_digest(b"pw").hex()))
    proven = ProvenPasswords()
    taken, _ = walk(native, proof(), [b"pw\0"], secure=True, proven=proven)
    assert taken == [Ask(b"\x01\x04")]
    assert walk(native, proof(), proven=proven)[0] == [Send(b"\x01\x03")]
    # A wrong proof against the cache is no verdict: the password may have been proved by a newer one.
    taken, _ = walk(native, FirstProof(CACHING_SHA2, b"?" * 32, CACHING_SHA2, NONCE), [b"pw\0"], secure=True)
    assert taken == [Ask(b"\x01\x04")]
    for answer in (b"wrong\0", b"pw", b"", b"\0", b"pw\0\0"):
        with pytest.raises(AuthenticationFailed):
            walk(native, proof(), [answer], secure=True)


def test_full_exchange_by_rsa() -> None:
    native = Account("ann", Verifier.of_native("*" + scramble.native_digest(b"pw").hex()))
    masked = scramble.mask_with_nonce(b"pw\0", NONCE)
    taken, _ = walk(native, proof(), [b"\x02", b"PEM", b"cipher", masked])
    assert taken == [Ask(b"\x01\x04"), NeedPublicKey(), Ask(b"\x01PEM"), NeedDecryption(b"cipher")]
    taken, _ = walk(native, proof(), [b"cipher", masked])  # the client has the key already
    assert taken == [Ask(b"\x01\x04"), NeedDecryption(b"cipher")]
    with pytest.raises(AuthenticationFailed):
        walk(native, proof(), [b"pw\0", b""])  # cleartext where it could be read is not accepted


def test_an_unusable_first_proof_is_asked_for_again() -> None:
    for first, wanted in (
        (FirstProof(NATIVE, b"", CACHING_SHA2, NONCE), NATIVE),
        (FirstProof("mysql_clear_password", b"pw", CACHING_SHA2, NONCE), CACHING_SHA2),
        (FirstProof("", b"", CACHING_SHA2, NONCE), CACHING_SHA2),
    ):
        steps = authenticate(ANN, first, secure=False, proven=ProvenPasswords())
        step = next(steps)
        assert isinstance(step, Ask)
        request = AuthSwitchRequest.parse(step.payload)
        assert request.plugin == wanted
        assert len(request.data) == 20
        assert request.data != NONCE


def test_the_first_nonce_does_not_prove_after_a_switch() -> None:
    first = FirstProof(NATIVE, b"", CACHING_SHA2, NONCE)
    with pytest.raises(AuthenticationFailed):
        walk(ANN, first, [scramble.native_scramble(b"pw", NONCE)])


def test_no_plugins_and_no_native_hash_is_a_refusal() -> None:
    with pytest.raises(HandshakeRefused) as caught:
        walk(Account("a", Verifier.of_sha256("00" * 32)), proof(None))
    assert caught.value.errno == 1251


@pytest.mark.parametrize("response", [b"", b"\0"])
def test_an_empty_password_is_proved_by_none_only(response: bytes) -> None:
    nobody = Account("nobody", Verifier.of_password(""))
    first = FirstProof(CACHING_SHA2, response, CACHING_SHA2, NONCE)
    assert walk(nobody, first) == ([], CACHING_SHA2)
    with pytest.raises(AuthenticationFailed):
        walk(ANN, first)
    with pytest.raises(AuthenticationFailed):
        walk(nobody, proof())
    with pytest.raises(AuthenticationFailed):
        walk(nobody, proof(NATIVE, greeting=NATIVE))


@given(st.binary(max_size=64), st.lists(st.binary(max_size=40), max_size=6), st.booleans(), st.booleans())
def test_no_bytes_let_anybody_in(response: bytes, answers: list[bytes], secure: bool, native: bool) -> None:
    stored = Verifier.of_password("unguessable")
    assert stored.native is not None
    account = Account("a", Verifier.of_native("*" + stored.native.hex()) if native else stored)
    first = FirstProof(CACHING_SHA2, response, CACHING_SHA2, NONCE)
    with pytest.raises((AuthenticationFailed, IndexError)):
        walk(account, first, answers, secure=secure)


# --- RSA ---------------------------------------------------------------------------------------------------


def test_a_key_pair_serves_pymysqls_encryption() -> None:
    async def main() -> None:
        pair = RsaKeyPair()
        pems = await asyncio.gather(*(pair.public_pem() for _ in range(5)))
        assert len(set(pems)) == 1  # made once, whoever asked first
        theirs = _auth.sha2_rsa_encrypt(b"pw", NONCE, pems[0])
        ours = encrypt_password(b"pw", NONCE, pems[0])
        for ciphertext in (theirs, ours):
            assert scramble.mask_with_nonce(await pair.decrypt(ciphertext), NONCE) == b"pw\0"
        for garbage in (b"", b"x", bytes(256), b"\xff" * 256, ours[:-1], ours + b"x"):
            assert await pair.decrypt(garbage) == b""

    asyncio.run(main())


def test_a_cancelled_client_does_not_take_the_key_away() -> None:
    async def main() -> None:
        pair = RsaKeyPair()
        impatient = asyncio.create_task(pair.public_pem())
        await asyncio.sleep(0)
        patient = asyncio.create_task(pair.public_pem())
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).startswith(b"-----BEGIN PUBLIC KEY-----")

    asyncio.run(main())


def private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a_key_pair_from_a_file(tmp_path: Path) -> None:
    good, bad, other = tmp_path / "good.pem", tmp_path / "bad.pem", tmp_path / "ec.pem"
    good.write_bytes(private_pem(rsa.generate_private_key(65537, 2048)))
    bad.write_text("no key")
    other.write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1())))
    pems = {asyncio.run(RsaKeyPair(good).public_pem()) for _ in range(2)}
    assert len(pems) == 1
    for path in (bad, other):
        with pytest.raises(ValueError):
            RsaKeyPair(path)
    with pytest.raises(OSError):
        RsaKeyPair(tmp_path / "none.pem")


def test_a_servers_key_must_be_worth_it() -> None:
    small = rsa.generate_private_key(65537, 1024).public_key()
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    large = rsa.generate_private_key(65537, 2048).public_key()

    def pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    for key in (pem(small), pem(curve), b"", b"no key", b"\0" * 300):
        with pytest.raises(AuthenticationFailed):
            encrypt_password(b"pw", NONCE, key)
    with pytest.raises(AuthenticationFailed, match="too long"):
        encrypt_password(b"p" * 300, NONCE, pem(large))
