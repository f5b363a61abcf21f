#!/bin/sh
# Makes the root file system of a Debian release for the lab's hosts, with its libvirt and QEMU:
#
#     make-root.sh RELEASE [DIR]     [DIR: /var/cache/drover-lab/RELEASE]
#
# DIR is a link to a directory beside it, whose name ends in a number made of the list of packages:
# hosts of a lab may run in the one of another list. Does nothing where DIR is there and has these
# packages. Needs root, apt's package lists and mmdebstrap. The packages come from the mirror that
# the machine itself uses; nothing is installed on the machine.
set -eu

release=${1:?which release? e.g. make-root.sh trixie}
root=${2:-/var/cache/drover-lab/$release}

packages="libvirt-daemon libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients
  qemu-system-x86 qemu-utils qemu-block-extra sanlock
  iproute2 iputils-ping procps util-linux kmod openipmi ipmitool"
# From Debian 13 on, each of libvirt's lock managers is a package of its own.
case $release in
    bookworm) packages="$packages libvirt-sanlock" ;;
    *) packages="$packages libvirt-daemon-plugin-lockd libvirt-daemon-plugin-sanlock libvirt-daemon-lock" ;;
esac
number() { printf '%s' "$1" | cksum | cut -d ' ' -f 1; }
made="$root-$(number "$packages")"
is_ready() { [ "$(readlink "$root")" = "$(basename "$made")" ] && is_made; }
# It has been completed.
is_made() { [ -e "$made/etc/drover-lab-root" ]; }
link() { ln -sfn "$(basename "$made")" "$root"; }

is_ready && exit 0
[ "$(id -u)" = 0 ] || { echo "make-root: $root is missing, and only root can make it" >&2; exit 1; }
command -v mmdebstrap >/dev/null || {
    echo "make-root: mmdebstrap is not installed; scripts/setup.sh installs it" >&2
    exit 1
}
mkdir -p "$(dirname "$root")"
# One at a time; who waited finds it made.
exec 9> "$root.lock"
flock 9
is_ready && exit 0
# As earlier versions of this script made it; hosts that run in it stay where they are.
if [ -d "$root" ] && [ ! -L "$root" ]; then
    mv "$root" "$root-$(number "$(cat "$root/etc/drover-lab-root")")"
fi
if is_made; then
    link
    exit 0
fi

# An installed system's own mirror, e.g. the archive of its release.
# shellcheck disable=SC1091
own=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' | awk -v own="$own" '$1 == own { print $2; exit }')
[ -n "$mirror" ] || { echo "make-root: apt knows no mirror of Debian ($own); run apt-get update" >&2; exit 1; }

echo "make-root: Debian $release, with libvirt and QEMU, in $root" >&2
# A root that a killed run left is not complete.
rm -rf "$made.part"
trap 'rm -rf "$made.part"' EXIT
log="$root.log"
comma() { echo "$1" | tr -s ' \n' ',,'; }
mmdebstrap --mode=root --variant=essential --architectures="$(dpkg --print-architecture)" \
    --components=main --include="$(comma "$packages")" \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$release" "$made.part" "$mirror" > "$log" 2>&1 || {
    echo "make-root: mmdebstrap failed ($log):" >&2
    tail -n 15 "$log" >&2
    exit 1
}
# Last: whoever finds the root finds all of it.
printf '%s' "$packages" > "$made.part/etc/drover-lab-root"
mv "$made.part" "$made"
trap - EXIT
link
