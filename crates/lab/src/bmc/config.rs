//! What the BMCs' programs are told.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use serde_json::json;

use crate::addresses::number_of;
use crate::bmc::{BMC_PASSWORD, BMC_USER, IPMI_PORT, REDFISH_PORT};
use crate::lab::Lab;
use crate::tools::{output, run, write};

/// OpenIPMI's simulator of a BMC.
pub(crate) const IPMI: &str = "ipmi_sim";
/// The Python that has sushy-tools; scripts/setup.sh makes it.
pub(crate) const REDFISH: &str = "/usr/local/lib/drover-lab/redfish/bin/python";

const DCMI_SOURCE: &str = include_str!("../../bmc/dcmi.c");
const REDFISH_SOURCE: &str = include_str!("../../bmc/redfish.py");

/// bcrypt of [`BMC_PASSWORD`]: the only form that sushy-tools takes.
const PASSWORD_HASH: &str = "$2b$04$FdHSfwOrIh87DXC6vhnrxe6bT/4znkZrcnfVB/IvsvXXO916XxC8S";

/// A full sensor record (IPMI 2.0, table 43-1): sensor 1 of the system board, unsigned,
/// watts, 2 W a step, and its name.
const SENSOR_RECORD: &str = "0 0 0x51 0x01 0x3a 0x20 0 1 7 1 0x67 0x40 0x0b 0x01 0 0 0 0 0 0 0 6 \
    0 0 2 0 0 0 0 0 0 0 0 0 0xff 0 0 0 0 0 0 0 0 0 0 0 0 0xcf 0x50 0x77 0x72 0x20 0x43 0x6f 0x6e \
    0x73 0x75 0x6d 0x70 0x74 0x69 0x6f 0x6e";

/// Whether the BMCs' programs are installed.
pub(crate) fn check_machine() -> anyhow::Result<()> {
    let missing = "is not installed; scripts/setup.sh installs what the lab needs";
    for program in [IPMI, "ipmitool", "gcc"] {
        ensure!(run(&format!("which {program}")).is_ok(), "{program} {missing}");
    }
    ensure!(Path::new(REDFISH).exists(), "sushy-tools {missing}");
    ensure!(Path::new("/usr/include/OpenIPMI/mcserv.h").exists(), "libopenipmi-dev {missing}");
    Ok(())
}

impl Lab {
    /// Writes what a host's BMC is told, unless it is there.
    pub(crate) fn write_bmc_config(&self, host: &str) -> anyhow::Result<()> {
        let dir = self.bmc_dir(host);
        std::fs::create_dir_all(dir.join("state"))?;
        if !dir.join("watts").exists() {
            write(&dir.join("watts"), "0\n")?;
        }
        make_certificate(&dir, host, &self.bmc_address(host)?)?;
        self.write_ipmi(host)
    }

    /// Hosts with odd numbers have DCMI, the others a sensor only.
    fn write_ipmi(&self, host: &str) -> anyhow::Result<()> {
        let (dir, address) = (self.bmc_dir(host), self.bmc_address(host)?);
        let number = number_of(host).context("a host is called h and a number")?;
        let (watts, shown) = (dir.join("watts"), self.spec().dir.join("bmc"));
        let dcmi = match number % 2 {
            1 => format!("loadlib \"{}/dcmi.so\" \"{}\"\n", shown.display(), watts.display()),
            _ => String::new(),
        };
        let lan = format!(
            "name \"bmc-{host}\"\n{dcmi}set_working_mc 0x20\n  startlan 1\n    \
             addr {address} {IPMI_PORT}\n    priv_limit admin\n    \
             guid d{number:031}\n  endlan\n  \
             chassis_control \"{}/switch {host}\"\n  user 1 false \"\" \"\" user 10 none\n  \
             user 2 true \"{BMC_USER}\" \"{BMC_PASSWORD}\" operator 10 none md5\n",
            shown.display()
        );
        write(&dir.join("lan.conf"), &lan)?;
        // Half a value a step: the record doubles it.
        let zeros = "000000000000000";
        let emulated = format!(
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\n\
             mc_enable 0x20\nsensor_add 0x20 0 1 0x0b 0x01 poll 1000 file \"{}\" div=2\n\
             sensor_set_event_support 0x20 0 1 enable scanning per-state {zeros} {zeros} {zeros} \
             {zeros}\nmain_sdr_add 0x20 {SENSOR_RECORD}\n",
            watts.display()
        );
        write(&dir.join("emu"), &emulated)
    }

    /// What all BMCs share: the switch, the DCMI module, the Redfish services.
    pub(crate) fn write_services(&self) -> anyhow::Result<()> {
        let dir = self.spec().dir.join("bmc");
        // A host that this starts must not inherit the BMC's sockets.
        let program = self.spec().bin_dir.join("drover-lab");
        let switch = format!(
            "#!/bin/bash\nfor open in /proc/$$/fd/*; do\n  \
             [ \"${{open##*/}}\" -gt 2 ] && eval \"exec ${{open##*/}}>&-\"\ndone\n\
             exec {} --dir {} bmc chassis \"$@\"\n",
            program.display(),
            self.spec().dir.display()
        );
        write(&dir.join("switch"), &switch)?;
        run(&format!("chmod 755 {}", dir.join("switch").display()))?;
        write(&dir.join("dcmi.c"), DCMI_SOURCE)?;
        let compiler = ["-shared", "-fPIC", "-O1", "-o"];
        output(Command::new("gcc").args(compiler).arg(dir.join("dcmi.so")).arg(dir.join("dcmi.c")))
            .context("build the DCMI module")?;
        write(&dir.join("users"), &format!("{BMC_USER}:{PASSWORD_HASH}\n"))?;
        write(&dir.join("redfish.py"), REDFISH_SOURCE)?;
        let services: anyhow::Result<Vec<serde_json::Value>> =
            self.spec().host_names().iter().map(|host| self.service(host)).collect();
        write(&dir.join("redfish.json"), &serde_json::to_string_pretty(&services?)?)
    }

    /// Hosts with odd numbers tell their watts by EnvironmentMetrics, the others by the
    /// older Power resource.
    fn service(&self, host: &str) -> anyhow::Result<serde_json::Value> {
        let (dir, number) = (self.bmc_dir(host), number_of(host).context("a number")?);
        let measures = if number % 2 == 1 { "EnvironmentMetrics" } else { "Power" };
        Ok(json!({
            "name": host,
            "address": self.bmc_address(host)?,
            "port": REDFISH_PORT,
            "mac": self.mac(host)?,
            "uuid": format!("00000000-0000-4000-8000-{number:012}"),
            "chassis": format!("00000000-0000-4000-9000-{number:012}"),
            "state": dir.join("state"),
            "users": self.spec().dir.join("bmc/users"),
            "switch": [self.spec().dir.join("bmc/switch"), host],
            "watts": dir.join("watts"),
            "measures": measures,
            "certificate": dir.join("cert.pem"),
            "key": dir.join("key.pem"),
        }))
    }
}

/// A certificate that signs itself, as BMCs come with.
fn make_certificate(dir: &Path, host: &str, address: &str) -> anyhow::Result<()> {
    if dir.join("cert.sha256").exists() {
        return Ok(());
    }
    let mut params = CertificateParams::new(vec![format!("bmc-{host}"), address.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, format!("bmc-{host}"));
    params.not_after = date_time_ymd(2055, 1, 1);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write(&dir.join("cert.pem"), &certificate.pem())?;
    write(&dir.join("key.pem"), &key.serialize_pem())?;
    let der = dir.join("cert.der");
    std::fs::write(&der, certificate.der())?;
    let digest = run(&format!("sha256sum {}", der.display()))?;
    let digest = digest.split_whitespace().next().context("sha256sum printed nothing")?;
    write(&dir.join("cert.sha256"), digest)
}
