#!/bin/sh
# Installs what is missing of the Debian packages that building, the lab and the tests need.
# libvirt and QEMU are not among them: the lab has its own (crates/lab/root/make-root.sh).
# Needs root and apt; says in one line what is wrong otherwise. Starts no service.
set -eu

PACKAGES="gcc libc6-dev pkg-config protobuf-compiler libvirt-dev
  libvirt-clients mmdebstrap tgt busybox-static cpio kmod gzip
  iproute2 iptables iputils-ping util-linux procps curl
  openipmi libopenipmi-dev ipmitool python3-venv"
# The Redfish services of the lab's BMCs; crates/lab/src/bmc/config.rs names the same place.
REDFISH=/usr/local/lib/drover-lab/redfish

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

missing=""
for package in $PACKAGES; do installed "$package" || missing="$missing $package"; done
command -v cargo >/dev/null || { echo "setup: Rust is missing: install it with rustup, then run this again" >&2; exit 1; }
wanted=$(dirname "$0")/redfish-requirements.txt
redfish_is_there() { cmp -s "$wanted" "$REDFISH/requirements.txt"; }
[ -z "$missing" ] && redfish_is_there && exit 0
[ -n "$missing" ] || missing=" sushy-tools"
[ "$(id -u)" = 0 ] || { echo "setup: these packages are missing, and only root can install them:$missing" >&2; exit 1; }
command -v apt-get >/dev/null || { echo "setup: this is not Debian; install the like of:$missing" >&2; exit 1; }

echo "setup: installing$missing"
install_redfish() {
    redfish_is_there && return
    rm -rf "$REDFISH"
    /usr/bin/python3 -m venv "$REDFISH"
    "$REDFISH/bin/pip" install -q --disable-pip-version-check --no-deps -r "$wanted"
    # Last: it says that all before it is there.
    cp "$wanted" "$REDFISH/requirements.txt"
}
if [ "$missing" = " sushy-tools" ]; then install_redfish; exit; fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The lab starts its own daemons; none of the machine's need run.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod 755 $policy
    trap 'rm -f $policy' EXIT
fi
# shellcheck disable=SC2086
apt-get install -qq -y --no-install-recommends $missing >/dev/null
install_redfish
