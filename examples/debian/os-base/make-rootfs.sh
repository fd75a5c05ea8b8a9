#!/bin/sh
# make-rootfs.sh SUITE: leaves rootfs.tar in the current folder, a minimal Debian of that suite.
#
# On a Debian machine, as root and with debootstrap: installed afresh from the mirrors that the
# machine itself uses, which the image then uses too. The same packages give the same archive.
# Elsewhere: the contents of the image debian:SUITE-slim, which docker pulls.
#
# Of the machine's apt sources only Debian's own are taken over. Third parties' sources, keys and
# passwords are the machine's, and would be in every image below.
set -eu
umask 022
export LC_ALL=C TZ=UTC

suite=${1:?usage: make-rootfs.sh SUITE}
work=$PWD/.make-rootfs
root=$work/root
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# Files that the installation makes get this time; those out of packages keep an older one.
newest='2023-06-10 00:00:00Z'

say() { printf '%s\n' "make-rootfs: $*" >&2; }

# debootstrap mounts these, and leaves them mounted when it is killed.
clean_up() {
    for mounted in "$root/proc" "$root/sys"; do
        umount "$mounted" 2>/dev/null || :
    done
    rm -rf --one-file-system "$work"
}
clean_up
mkdir "$work"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The first address in the machine's apt sources, in either format, that has one of these suites.
mirror_of() {
    # shellcheck disable=SC2016  # the names in $() are apt's
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(SITE)' 'Created-By: Packages' |
        while read -r release component site; do
            case " $* " in *" $release "*) ;; *) continue ;; esac
            [ "$component" = main ] && printf '%s\n' "$site" && break
        done
}

can_bootstrap() {
    [ "$(id -u)" = 0 ] || { say 'not root, so no debootstrap'; return 1; }
    command -v debootstrap >/dev/null || { say 'debootstrap is not installed'; return 1; }
    [ -r "$keyring" ] || { say "there is no $keyring"; return 1; }
    # Ubuntu's mirrors, for one, have no Debian.
    grep -qx 'ID=debian' /etc/os-release || { say 'this machine is not Debian'; return 1; }
    host_suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    mirror=$(mirror_of "$host_suite" stable)
    security=$(mirror_of "$host_suite-security" stable-security)
    [ -n "$mirror" ] || { say 'no mirror of Debian in the apt sources'; return 1; }
    case $mirror$security in
    *@*) say 'the mirror has a password in its address, which would be in the image'; return 1 ;;
    esac
}

bootstrap() {
    say "debootstrap of $suite from $mirror"
    debootstrap --variant=minbase --include=ca-certificates --keyring="$keyring" \
        --force-check-gpg "$suite" "$root" "$mirror" >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" "$root/debootstrap/debootstrap.log" >&2 || :
        say 'debootstrap failed'
        return 1
    }
    write_sources && upgrade && forget_the_machine && pack
}

write_sources() {
    rm -f "$root/etc/apt/sources.list"
    {
        stanza "$mirror" "$suite $suite-updates"
        [ -z "$security" ] || stanza "$security" "$suite-security"
    } >"$root/etc/apt/sources.list.d/debian.sources"
    # Whether dates are checked, and the proxy, belong to the way to the mirror.
    apt-config dump --no-empty | grep -E '^Acquire::(Check-|https?::Proxy )' | grep -v '@' \
        >"$root/etc/apt/apt.conf.d/60mirror" || :
}

stanza() {
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' \
        "$1" "$2" "$keyring"
}

# debootstrap knows only the suite itself, not its updates.
upgrade() {
    cp /etc/resolv.conf "$root/etc/resolv.conf" &&
        chroot "$root" apt-get -qq update &&
        DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -qq -y dist-upgrade >>"$work/log" 2>&1
}

# What differs from one machine or day to the next and says nothing about the packages.
forget_the_machine() {
    chroot "$root" apt-get clean
    rm -f "$root"/etc/hostname "$root"/etc/resolv.conf "$root"/etc/*- "$root"/var/cache/ldconfig/aux-cache \
        "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/var/cache/apt/*.bin
    rm -rf "$root"/var/lib/apt/lists/* "$root"/tmp/*
    find "$root/var/log" -type f -exec rm {} +
    : >"$root/etc/machine-id"
    # The day each password was last changed: that of the suite's release.
    sed -i 's/^\([^:]*:[^:]*:\)[0-9]*:/\119518:/' "$root/etc/shadow"
}

pack() {
    tar --create --file rootfs.tar --directory "$root" --sort=name --numeric-owner \
        --mtime="$newest" --clamp-mtime \
        --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' --exclude='./run/*' .
}

from_image() {
    image=debian:$suite-slim
    command -v docker >/dev/null || { say 'docker is not installed'; return 1; }
    say "taking the contents of the image $image"
    container=$(docker create "$image" true) || return 1
    status=0
    docker export "$container" >rootfs.tar || status=1
    docker rm "$container" >/dev/null
    return "$status"
}

if ! { can_bootstrap && bootstrap; } && ! from_image; then
    rm -f rootfs.tar
    say 'hint: as root on Debian, apt-get install debootstrap; elsewhere, let docker reach its registry'
    exit 1
fi
