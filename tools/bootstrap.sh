#!/bin/sh
# Makes this checkout runnable: system packages (Debian), .venv with pinned libraries, the Cython built.
# Says what it installs. Without root or apt it names the packages wanted and stops.
#   PYTHON=python3.12 tools/bootstrap.sh     takes another Python (3.11 or newer)
set -eu
cd "$(dirname "$0")/.."

VENV=.venv
POLICY=/usr/sbin/policy-rc.d

say() { printf 'fairlead: %s\n' "$*"; }
fail() { printf 'fairlead: %s\n' "$*" >&2; exit 1; }

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }
python_has() { "$python" -c "$1" >/dev/null 2>&1; }

# Prints the packages whose effect is missing, one for each thing looked for.
wanted_packages() {
    # A Python that is not Debian's own brings its venv and headers itself.
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    python_has 'import ensurepip, venv' || echo "$version-venv"
    python_has 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' || echo "$version-dev"
    have gcc || echo gcc
    [ -e /usr/include/stdlib.h ] || echo libc6-dev
    have mariadb_config || echo libmariadb-dev
    have pkg-config || echo pkg-config
    have mariadbd || echo mariadb-server
    have mariadb || echo mariadb-client
    have redis-server || echo redis-server
    have haproxy || echo haproxy
    have nutcracker || echo nutcracker
    have redis-benchmark || echo redis-tools
    have node || echo nodejs
    have npm || echo npm
    have sysbench || echo sysbench
    have valgrind || echo valgrind
    have strace || echo strace
    have setpriv || echo util-linux
}

install_packages() {
    if ! have apt-get; then
        fail "this needs, by their Debian names: $*. There is no apt-get here; install them your way and run again."
    fi
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if have sudo && sudo -n true 2>/dev/null; then
            as_root="sudo -n"
        else
            fail "this needs packages and may not install them. As root: apt-get install $*   Then run again."
        fi
    fi
    say "installing with apt-get: $*"
    keep_services_stopped
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq ||
        say "apt-get update failed; trying with the package lists that are here"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null ||
        fail "apt-get could not install: $*. Its messages are above."
    let_services_start
    say "the packages' own services were not started; tests and demo start private servers"
}

# invoke-rc.d asks policy-rc.d whether a fresh package may start its daemon; for a moment the answer is no.
keep_services_stopped() {
    [ -e "$POLICY" ] && return
    trap let_services_start EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' | $as_root sh -c "cat > $POLICY && chmod 755 $POLICY"
    ours=1
}

let_services_start() {
    [ -z "${ours:-}" ] || $as_root rm -f "$POLICY"
    ours=
}

make_venv() {
    if [ ! -x "$VENV/bin/python" ]; then
        say "making $VENV with $("$python" --version)"
        "$python" -m venv "$VENV"
    fi
    say "installing the libraries of constraints.txt into $VENV"
    # Builds use what is installed here, at the pinned version, instead of fetching their own.
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel Cython
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]' ||
        fail "pip could not install everything; its messages are above. Is a package index reachable (pip config list)?"
}

python=$(find_python)
[ -n "$python" ] || fail "this needs Python 3.11 or newer (Debian: apt-get install python3.11 python3.11-venv)."
packages=$(wanted_packages)
# shellcheck disable=SC2086 # the names are words on purpose
[ -z "$packages" ] || install_packages $packages
make_venv
say "ready"
