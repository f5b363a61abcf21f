#!/bin/busybox sh
# PID 1 of a lab guest.
/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
# guestd drives this one itself, by its legacy registers: a virtio-rng on the root bus.
for device in /sys/bus/pci/devices/*; do
    [ "$(cat "$device/device")" = 0x1005 ] && echo guestd > "$device/driver_override"
done
while read -r module; do insmod "/mod/$module"; done < /mod/order
for word in $(cat /proc/cmdline); do
    case $word in
        lab.address=*) ADDRESS=${word#*=} ;;
        lab.name=*) hostname "${word#*=}" ;;
    esac
done
ip link set lo up
tries=0
while [ ! -e /sys/class/net/eth0 ] && [ $tries -lt 100 ]; do usleep 50000; tries=$((tries + 1)); done
ip link set eth0 up
ip addr add "$ADDRESS" dev eth0
echo 0 > /run/load
echo 0 16 > /run/dirty
echo 0 > /run/watch
guestd &
httpd -p 80 -h /www
echo "GUEST READY $(hostname)" > /dev/console
while :; do sleep 3600; done
