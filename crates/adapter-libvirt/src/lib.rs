//! adapter-libvirt
