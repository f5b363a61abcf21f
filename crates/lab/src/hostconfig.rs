//! What libvirt and the agent of a host are told.

use std::path::Path;

use anyhow::Context as _;

use crate::addresses::{host_address, number_of};
use crate::domain_xml::SHARED;
use crate::lab::Lab;
use crate::powercap::machine_watts;
use crate::sanlock::sanlock_conf;
use crate::storage::{LOCAL, LOCKSPACE, Locks};
use crate::tools::write;

impl Lab {
    pub(crate) fn write_host_config(&self, host: &str) -> anyhow::Result<()> {
        let dir = self.member_dir(host);
        let number = number_of(host).context("a host is called h and a number")?;
        let address = host_address(host).context("a host is called h and a number")?;
        let etc = dir.join("etc-libvirt");
        if !etc.join("libvirtd.conf").exists() {
            copy_settings(&self.spec().releases.of(host).kept_root().join("etc/libvirt"), &etc)?;
        }
        let locks = self.spec().locks;
        write(&etc.join("libvirtd.conf"), &libvirtd_conf(number, &address))?;
        write(&etc.join("qemu.conf"), &qemu_conf(&address, locks))?;
        write(&etc.join("qemu-lockd.conf"), &lockd_conf())?;
        write(&etc.join("qemu-sanlock.conf"), &sanlock_conf(number))?;
        default_pool(&dir, &etc)?;
        let spec = self.spec();
        let agent = format!(
            "state_dir = \"/var/lib/drover-agent\"\nlibvirt_uri = \"qemu:///system\"\n\
             sample_interval = \"{}\"\nmigration_address = \"{address}\"\n\
             peer_uri = \"qemu+tls://{address}/system\"\nshared_paths = [\"{SHARED}\"]\n\n\
             [accounting]\nmode = \"processes\"\ncores = {:?}\nmemory = \"{}MiB\"\n\n\
             [power]\nsources = [\"psys\", \"rapl\", \"hwmon\", \"battery\", \"model\"]\n\
             off_command = [\"kill\", \"-s\", \"RTMIN+4\", \"1\"]\ncurve = {:?}\n",
            spec.sample_interval,
            spec.host_cores,
            spec.host_memory_mib,
            [0_u8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
                .map(|tenth| machine_watts(f64::from(tenth) / 10.0))
        );
        write(&dir.join("etc-drover/agent.toml"), &agent)
    }
}

/// The settings of libvirt's programs as the release has them, and nothing else that may lie
/// there: no domain, network, pool, filter or secret comes with them.
fn copy_settings(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    let entries = std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))?;
    for entry in entries {
        let path = entry?.path();
        let (Some(name), true) = (path.file_name(), path.is_file()) else { continue };
        if path.extension().is_some_and(|extension| extension == "conf") {
            std::fs::copy(&path, to.join(name))
                .with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// The host's own disks as libvirt's pool `default`, started with libvirtd.
fn default_pool(dir: &Path, etc: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir.join("lib/images"))?;
    let pool = format!(
        "<pool type='dir'>\n  <name>default</name>\n  \
         <uuid>22222222-2222-4333-8444-000000000001</uuid>\n  \
         <target><path>{LOCAL}</path></target>\n</pool>\n"
    );
    write(&etc.join("storage/default.xml"), &pool)?;
    let autostart = etc.join("storage/autostart");
    std::fs::create_dir_all(&autostart)?;
    let link = autostart.join("default.xml");
    if std::fs::symlink_metadata(&link).is_err() {
        std::os::unix::fs::symlink("/etc/libvirt/storage/default.xml", &link)
            .with_context(|| format!("link {}", link.display()))?;
    }
    Ok(())
}

fn libvirtd_conf(number: u8, address: &str) -> String {
    format!(
        "host_uuid = \"00000000-0000-4000-8000-{number:012}\"\n\
         listen_tls = 1\nlisten_tcp = 0\nlisten_addr = \"{address}\"\nauth_tls = \"none\"\n\
         auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\nunix_sock_group = \"root\"\n\
         unix_sock_rw_perms = \"0700\"\nmdns_adv = 0\n\
         log_filters = \"3:qemu 3:libvirt\"\n\
         log_outputs = \"3:file:/var/log/libvirt/libvirtd.log\"\n"
    )
}

fn qemu_conf(address: &str, locks: Locks) -> String {
    let lock_manager = match locks {
        Locks::None => "",
        Locks::Lockd => "lock_manager = \"lockd\"\n",
        Locks::Sanlock => "lock_manager = \"sanlock\"\n",
    };
    format!(
        "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\ndynamic_ownership = 0\n\
         remember_owner = 0\nnamespaces = []\ncgroup_controllers = []\nstdio_handler = \"file\"\n\
         migration_address = \"{address}\"\nmigration_host = \"{address}\"\n\
         default_tls_x509_cert_dir = \"/etc/pki/qemu\"\n{lock_manager}"
    )
}

/// Only with leases for disks does libvirt make the lockspace known to virtlockd, which
/// explicit leases need too.
fn lockd_conf() -> String {
    format!(
        "auto_disk_leases = 1\nrequire_lease_for_disks = 0\n\
         file_lockspace_dir = \"{SHARED}/{LOCKSPACE}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_gets_settings_and_nothing_that_is_defined() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let etc = from.path();
        for file in [
            "libvirtd.conf",
            "qemu.conf",
            "qemu/stranger.xml",
            "qemu/autostart/stranger.xml",
            "qemu/networks/default.xml",
            "storage/default.xml",
            "nwfilter/clean-traffic.xml",
            "secrets/1234.base64",
            "hooks/qemu",
            "stray.xml",
        ] {
            write(&etc.join(file), "x").unwrap();
        }
        copy_settings(etc, &to.path().join("libvirt")).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(to.path().join("libvirt"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["libvirtd.conf", "qemu.conf"]);
    }
}
