#!/bin/sh
# Set-up for the Makefile: setup.sh bare|test|dev|coverage
#
# Installs the programs that are missing, makes .venv, installs the package into it with
# the extra asked for. Run again it only looks, in a fraction of a second. Exit status 2:
# something is missing that a person has to install; 1: an installation failed.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

say() { printf 'set-up: %s\n' "$*" >&2; }
die() { status=$1; shift; say "$@"; exit "$status"; }

extra=${1-}
case $extra in
    bare) target=.         covers=bare ;;
    test) target='.[test]' covers='bare test' ;;
    dev)  target='.[dev]'  covers='bare test dev' ;;
    coverage) target='.[coverage]' covers='bare test coverage' ;;
    *) die 2 'usage: setup.sh bare|test|dev|coverage' ;;
esac

# One at a time: two makes started together must not build the same .venv.
mkdir -p .cache
if command -v flock >/dev/null; then
    exec 9>.cache/lock
    flock -n 9 || { say 'waiting for another set-up to end'; flock 9; }
fi

# program, and the package that usually has it
programs='qemu-img qemu-utils
qemu-io qemu-utils
qemu-nbd qemu-utils
qemu-storage-daemon qemu-system-common
qemu-system-x86_64 qemu-system-x86
mke2fs e2fsprogs
setpriv util-linux'
[ "$extra" = bare ] || programs="$programs
dot graphviz
openssl openssl
losetup mount"

find_python() {
    for python in "${PYTHON:-python3}" python3.11 python3.12 python3.13 python3.14; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    python=
}

# .venv/changing is there while .venv is being changed. Found here, under the lock, it
# means that a set-up was cut off, and nothing in .venv can be relied on.
venv_is_sound() {
    [ ! -e .venv/changing ] && .venv/bin/python -c 'import pip' 2>/dev/null
}

missing() {  # one line each: program, package
    echo "$programs" | while read -r program package; do
        command -v "$program" >/dev/null || echo "$program $package"
    done
    venv_is_sound && return
    find_python
    if [ -z "$python" ]; then
        echo 'python3.11 python3-venv'
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -c 'import sys; print("python3-venv python3.%d-venv" % sys.version_info[1])'
    fi
}

# What only some tests need, which skip without: block drivers in modules of their own (all are in one
# package, so one stands for all), and the kernel's headers.
missing_for_tests() {
    [ -e /usr/include/asm-generic/unistd.h ] || echo 'unistd.h linux-libc-dev'
    qemu-img info 'json:{"driver":"ssh"}' 2>&1 | grep -q "'server'" || echo 'ssh qemu-block-extra'
}

lacking() {
    missing
    [ "$extra" = bare ] || missing_for_tests
}

apt_install() {
    packages=$(lacking | cut -d' ' -f2 | sort -u | tr '\n' ' ')
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            die 2 "you are not root and there is no sudo; ask root for: apt-get install $packages"
        }
        as_root=sudo
    fi
    say installing $packages
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120"
    install="$apt install -y --no-install-recommends $packages"
    # The lists are fetched only when the install fails without: none yet, or out of date.
    # 9>&-: a service that a package starts must not inherit the lock.
    { $install || { $apt update && $install; }; } </dev/null >.cache/apt.log 2>&1 9>&- || {
        tail -n 15 .cache/apt.log >&2
        die 1 'apt-get could not install them (its last words above, all of them in .cache/apt.log);' \
            'is the network there, and may you use sudo?'
    }
}

if [ -n "$(lacking)" ] && command -v apt-get >/dev/null; then
    (apt_install) || { status=$?; [ -z "$(missing)" ] || exit "$status"; }
fi
if [ -n "$(missing)" ]; then
    say 'these programs are missing (program: the package that usually has it):'
    missing | while read -r program package; do echo "$program: $package" >&2; done
    exit 2
fi

if ! venv_is_sound; then
    find_python
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    mkdir .venv
    : >.venv/changing
    "$python" -m venv .venv || die 1 "$python could not make .venv"
fi

# A stamp is good for this pyproject.toml in this place: an editable install knows its path.
wanted="$(cksum <pyproject.toml) $PWD"
[ "$(cat ".venv/stamp-$extra" 2>/dev/null)" = "$wanted" ] && exit
say "installing $target into .venv"
: >.venv/changing
rm -f .venv/stamp-*
.venv/bin/python -m pip install -q --disable-pip-version-check -e "$target" || {
    # pip puts back what it had begun when it fails by itself, so .venv is still sound.
    rm .venv/changing
    die 1 "pip could not install $target (its words above): is the package index reachable?"
}
# Where PYTHONDONTWRITEBYTECODE is set, each start of Python would do it again.
.venv/bin/python -m compileall -q qemu_blocksdk
for extra in $covers; do echo "$wanted" >".venv/stamp-$extra"; done
rm .venv/changing
