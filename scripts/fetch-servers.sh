#!/bin/sh
# Fetches newer servers than the distribution's own, to test against them: redis 8.0 and valkey 8.1 of Debian trixie.
#
#     scripts/fetch-servers.sh [redis-8.0] [valkey-8.1]      both by default
#
# Nothing is installed. The packages, and the libraries that they need, are fetched with the machine's own apt (its mirror,
# its proxy, its keys) and unpacked into target/servers/NAME, each with a program `NAME/redis-server` that brings its own
# libraries. Then:
#
#     cargo xtask test --server redis-8.0
#     cargo xtask matrix --server valkey-8.1
#     ROMAINE_REDIS_SERVER=$PWD/target/servers/valkey-8.1/redis-server cargo test
#
# ROMAINE_SUITE names another suite than trixie.
set -eu

suite=${ROMAINE_SUITE:-trixie}
root=$(cd "$(dirname "$0")/.." && pwd)
servers=$root/target/servers
arch=$(dpkg --print-architecture)

fail() {
    echo "fetch-servers: $*" >&2
    exit 1
}

command -v apt-get >/dev/null || fail "needs apt-get; elsewhere, build the server and name it with ROMAINE_REDIS_SERVER"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/parts"
# An empty machine: so that everything a package needs is listed, and taken from the same suite.
: >"$work/status"

# Where this machine gets Debian from, and the keys it trusts for that.
apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(SIGNED_BY)' 2>/dev/null |
    sed -n 's/^Debian|Debian|//p' | sort -u >"$work/mirrors"
if [ ! -s "$work/mirrors" ]; then
    # Its lists were never fetched, or were deleted: what its sources say.
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\/debian\/\{0,1\}\) .*/\2|/p' >>"$work/mirrors"
    sed -n 's/^URIs: *\([^ ]*\/debian\/\{0,1\}\)$/\1|/p' /etc/apt/sources.list.d/*.sources 2>/dev/null >>"$work/mirrors" || true
fi
[ -s "$work/mirrors" ] || fail "this machine's apt has no Debian mirror"
mirror=$(head -n 1 "$work/mirrors" | cut -d '|' -f 1)
keys=$(head -n 1 "$work/mirrors" | cut -d '|' -f 2)
# Older versions of apt leave the name of a field that they do not know.
[ -e "$keys" ] || keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys arch=$arch] $mirror $suite main" >"$work/sources.list"

apt() {
    apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="$work/parts" \
        -o Dir::State::Lists="$work/lists" -o Dir::State::Status="$work/status" -o Dir::Cache="$work" \
        -o Dir::Cache::Archives="$work/archives" -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
        -o APT::Architecture="$arch" -o APT::Architectures="$arch" "$@"
}

echo "reading the list of $suite's packages"
apt update || fail "cannot read $suite's packages"

# NAME PACKAGE PROGRAM
fetch() {
    name=$1 package=$2 program=$3
    echo "fetching $name"
    # The package and the libraries among what it needs.
    needed=$(apt -y --no-install-recommends --print-uris install "$package" |
        sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p" |
        grep -E '^(lib|zlib|lua|redis|valkey)' || true)
    [ -n "$needed" ] || fail "$suite has no $package"
    mkdir "$work/$name"
    # shellcheck disable=SC2086 # a list of names
    (cd "$work/$name" && apt download $needed)
    rm -rf "${servers:?}/$name"
    mkdir -p "$servers/$name/root"
    for archive in "$work/$name"/*.deb; do
        dpkg-deb --extract "$archive" "$servers/$name/root"
    done
    loader=$(cd "$servers/$name" && find root -name 'ld-linux*.so*' \( -type f -o -type l \) | head -n 1)
    [ -n "$loader" ] || fail "$name came without a C library"
    libraries=$(cd "$servers/$name" && find root -name '*.so*' -exec dirname {} + | sort -u | sed 's/^/$here\//' | paste -sd :)
    cat >"$servers/$name/redis-server" <<END
#!/bin/sh
# $name of Debian $suite with the libraries that it was built for.
here=\$(cd "\$(dirname "\$0")" && pwd)
exec "\$here/$loader" --library-path "$libraries" "\$here/root/usr/bin/$program" "\$@"
END
    chmod +x "$servers/$name/redis-server"
    version=$("$servers/$name/redis-server" --version) || fail "$name does not run here"
    echo "$name: $version"
}

[ $# -gt 0 ] || set -- redis-8.0 valkey-8.1
for name in "$@"; do
    case $name in
    redis-8.0) fetch redis-8.0 redis-server redis-server ;;
    valkey-8.1) fetch valkey-8.1 valkey-server valkey-server ;;
    *) fail "expected redis-8.0 or valkey-8.1, not $name" ;;
    esac
done
