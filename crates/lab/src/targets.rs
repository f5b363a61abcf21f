//! The storage server: a member that exports LUNs over iSCSI.

use std::time::Duration;

use anyhow::Context as _;

use crate::addresses::{Network, STORAGE_SERVER, number_of};
use crate::guests::sparse;
use crate::lab::Lab;
use crate::network;
use crate::storage::{LUNS, STORAGE, target_name};
use crate::tools::wait_for;

/// tgtd answers within so long.
const TARGETS_UP: Duration = Duration::from_secs(20);

impl Lab {
    /// Brings up the storage server, unless it runs, with every LUN there is.
    pub fn start_storage(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            crate::tools::run("which tgtd").is_ok(),
            "tgtd is not installed; scripts/setup.sh installs what the lab needs"
        );
        std::fs::create_dir_all(self.spec().dir.join("luns"))?;
        network::make_member(&self.spec().name, STORAGE, STORAGE_SERVER)?;
        self.start_member(STORAGE)?;
        self.export_all()
    }

    /// Exports every LUN there is, after tgtd was started.
    pub(crate) fn export_all(&self) -> anyhow::Result<()> {
        wait_for("tgtd", TARGETS_UP, || self.tgtadm("--op show --mode target").is_ok())?;
        for entry in std::fs::read_dir(self.spec().dir.join("luns"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(guest) = name.strip_suffix(".img") {
                self.export(guest)?;
            }
        }
        Ok(())
    }

    /// Makes a guest's LUN and exports it.
    pub(crate) fn export_lun(&self, guest: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(self.spec().dir.join("luns"))?;
        sparse(&self.spec().dir.join("luns").join(format!("{guest}.img")))?;
        self.start_storage()
    }

    fn export(&self, guest: &str) -> anyhow::Result<()> {
        let id = number_of(guest).context("a guest is called vm and a number")?;
        let name = target_name(guest);
        let listed = self.tgtadm("--op show --mode target")?;
        if listed.lines().any(|line| line.ends_with(&format!(": {name}"))) {
            return Ok(());
        }
        self.tgtadm(&format!("--op new --mode target --tid {id} -T {name}"))?;
        self.tgtadm(&format!(
            "--op new --mode logicalunit --tid {id} --lun 1 -b {LUNS}/{guest}.img"
        ))?;
        self.tgtadm(&format!("--op bind --mode target --tid {id} -I ALL")).map(drop)
    }

    fn tgtadm(&self, line: &str) -> anyhow::Result<String> {
        let mut words = vec!["tgtadm", "--lld", "iscsi"];
        words.extend(line.split_whitespace());
        self.exec(STORAGE, &words)
    }
}

/// How tgtd is started: at the storage server's only address.
pub(crate) fn tgtd() -> String {
    format!("/usr/sbin/tgtd -f --iscsi portal={}:3260", Network::Storage.address(STORAGE_SERVER))
}
