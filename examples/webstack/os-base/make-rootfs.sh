#!/bin/sh
# Completes rootfs/ in the current folder: a static busybox, a link for each of its applets, and
# the empty folders that git does not keep. The same busybox gives the same files, times included.
#
# busybox comes from the first of these that has one:
#   1. this machine's PATH
#   2. the Debian or Ubuntu package busybox-static, downloaded but not installed
#   3. the image busybox:stable-musl
set -eu
umask 022
export LC_ALL=C TZ=UTC

# What the images above this one call.
needed='sh awk cat grep httpd mkdir sleep wget'

work=$PWD/.make-rootfs
rm -rf "$work"
mkdir "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '%s\n' "make-rootfs: $*" >&2; }

# A Linux program that needs no loader: the image has no C library.
is_static() {
    [ -f "$1" ] && [ -r "$1" ] || return 1
    case $(head -c 4 "$1" | tr -c '[:upper:]' '.') in .ELF) ;; *) return 1 ;; esac
    # The loader a dynamic program asks for stands in its first page.
    ! head -c 4096 "$1" | tr -c '[:print:]' '\n' | grep -q '^/.*/ld-'
}

# Takes a busybox and the file that lists its applets, if it has all that is needed.
accept() {
    for applet in $needed; do
        grep -qx "$applet" "$2" || { say "$3 has no applet \`$applet\`"; return 1; }
    done
    mkdir -p rootfs/bin && cp "$1" rootfs/bin/busybox && chmod 755 rootfs/bin/busybox || return 1
    while read -r applet; do
        [ "$applet" = busybox ] || ln -sf busybox "rootfs/bin/$applet" || return 1
    done <"$2"
    say "busybox from $3"
}

accept_runnable() {
    is_static "$1" || return 1
    "$1" --list >"$work/applets" 2>/dev/null || return 1
    accept "$1" "$work/applets" "$2"
}

from_path() {
    for name in busybox busybox.static; do
        found=$(command -v "$name") || continue
        accept_runnable "$found" "$found" && return
        say "$found is not used: it must be static and have: $needed"
    done
    return 1
}

from_package() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    (
        cd "$work"
        apt-get download -qq busybox-static >&2 || {
            [ "$(id -u)" = 0 ] && apt-get update -qq >&2 && apt-get download -qq busybox-static >&2
        }
    ) || return 1
    dpkg-deb -x "$work"/busybox-static_*.deb "$work/package" || return 1
    # /bin until Debian 12, /usr/bin since.
    for file in "$work/package/bin/busybox" "$work/package/usr/bin/busybox"; do
        accept_runnable "$file" 'the package busybox-static' && return
    done
    return 1
}

from_image() {
    image=busybox:stable-musl
    command -v docker >/dev/null || return 1
    container=$(docker create "$image" true) || return 1
    docker export "$container" >"$work/image.tar" || { docker rm "$container" >/dev/null; return 1; }
    docker rm "$container" >/dev/null
    mkdir "$work/image"
    tar -xf "$work/image.tar" -C "$work/image" bin || return 1
    is_static "$work/image/bin/busybox" || return 1
    # Its applets are listed, not asked for: this machine need not be able to run it.
    ls "$work/image/bin" >"$work/applets"
    accept "$work/image/bin/busybox" "$work/applets" "the image $image"
}

if ! from_path && ! from_package && ! from_image; then
    say 'found no static busybox: not on PATH, not as a package by apt-get, not as an image by docker'
    say 'hint: install the package busybox-static (Debian, Ubuntu), or docker pull busybox:stable-musl'
    exit 1
fi

for folder in dev proc root srv sys tmp usr/bin usr/lib usr/share var; do
    mkdir -p "rootfs/$folder"
done
find rootfs -type d -exec chmod 755 {} +
find rootfs/etc -type f -exec chmod 644 {} +
chmod 700 rootfs/root
chmod 1777 rootfs/tmp
# Times go into the layer, so they must not be those of the checkout.
find rootfs -exec touch -h -t 202001010000 {} +
