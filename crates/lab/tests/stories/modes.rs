//! Ways of moving: with local disks, shut off, and away from a dead host.

use anyhow::{Context as _, ensure};
use drover_lab::tools::run;
use drover_lab::{Drover, GuestDisk, GuestLease};

use super::world::{World, text};

/// Where the hosts' own images are.
const IMAGES: &str = "/var/lib/libvirt/images";

/// A guest of one story with a disk of its own; it goes with the story.
struct Guest<'w> {
    world: &'w World,
    name: &'static str,
}

impl<'w> Guest<'w> {
    fn local(world: &'w World, name: &'static str, host: &str) -> anyhow::Result<Self> {
        Self::with(world, name, host, GuestDisk::Local)
    }

    fn with(
        world: &'w World,
        name: &'static str,
        host: &str,
        disk: GuestDisk,
    ) -> anyhow::Result<Self> {
        let guest = Self { world, name };
        world.lab.start_guest_with(name, host, disk, GuestLease::None)?;
        guest.is_up(host)?;
        Ok(guest)
    }

    /// Waits until it answers and Drover has measured it on its host.
    fn is_up(&self, host: &str) -> anyhow::Result<()> {
        self.world.lab.wait_for_guest(self.name)?;
        self.world.until("samples of the guest", || {
            let shown = self.world.json(&["guest", "show", self.name])?;
            Ok(shown["host"] == host
                && shown["state"] == "running"
                && shown["host_percent"].is_number())
        })
    }

    /// Fills a part of a disk and says what is there by now.
    fn write(&self, device: &str) -> anyhow::Result<String> {
        let line = format!(
            "dd if=/dev/urandom of={device} bs=1M seek=4 count=20 conv=fsync 2>/dev/null; sync"
        );
        self.world.lab.guest_exec(self.name, &line)?;
        self.read(device)
    }

    /// What is on the disk itself, whatever the guest's memory holds.
    fn read(&self, device: &str) -> anyhow::Result<String> {
        let line = format!(
            "echo 3 > /proc/sys/vm/drop_caches; \
             dd if={device} bs=1M skip=4 count=20 2>/dev/null | md5sum"
        );
        let sum = self.world.lab.guest_exec(self.name, &line)?;
        ensure!(sum.trim().len() > 30, "the guest says `{sum}`");
        Ok(sum.trim().to_owned())
    }

    fn shut_off(&self, host: &str) -> anyhow::Result<()> {
        self.world.lab.virsh(host, &["destroy", self.name])?;
        self.world.until("the guest shut off", || {
            Ok(self.world.json(&["guest", "show", self.name])?["state"] == "shut-off")
        })
    }

    fn image(&self) -> String {
        format!("{IMAGES}/{}.img", self.name)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        for host in self.world.lab.spec().host_names() {
            let _ = self.world.lab.virsh(&host, &["destroy", self.name]);
            let _ = self.world.lab.virsh(&host, &["undefine", self.name]);
            let pattern = format!("rm -f {IMAGES}/{0}* {IMAGES}/.{0}*", self.name);
            let _ = self.world.lab.exec(&host, &["sh", "-c", &pattern]);
        }
    }
}

/// Whether nothing of a guest is left on a host, hidden files included.
fn is_clean(world: &World, host: &str, guest: &str) -> anyhow::Result<bool> {
    let files = world.lab.exec(host, &["ls", "-A", IMAGES])?;
    let defined = world.lab.virsh(host, &["list", "--all", "--name"])?;
    Ok(!files.contains(guest) && !defined.split_whitespace().any(|name| name == guest))
}

pub(crate) fn a_local_disk_moves_with_its_running_guest(world: &World) -> anyhow::Result<()> {
    let guest = Guest::local(world, "vm21", "h1")?;
    let written = guest.write("/dev/vda")?;
    let refused = world.drover(&["guest", "migrate", "vm21", "--to", "h2"]);
    let error = format!("{:#}", refused.expect_err("its disk is local"));
    ensure!(error.contains("below no path shared"), "{error}");
    world.drover(&["guest", "migrate", "vm21", "--to", "h2", "--copy-storage", "full"])?;
    ensure!(world.home("vm21")? == "h2", "it is not on h2");
    ensure!(guest.read("/dev/vda")? == written, "the disk is another");
    world.until("a clean source", || is_clean(world, "h1", "vm21"))?;
    world.until("a pool that does not name what is gone", || {
        Ok(!world.lab.virsh("h1", &["vol-list", "default"])?.contains("vm21"))
    })?;
    // And back, to a directory of another name.
    world.lab.exec("h1", &["mkdir", "-p", &format!("{IMAGES}/vm21-other")])?;
    let map = format!("{IMAGES}={IMAGES}/vm21-other");
    let way = ["--copy-storage", "full", "--storage-map", &map];
    let words = ["guest", "migrate", "vm21", "--to", "h1"];
    world.until("samples where it is", || {
        Ok(world.json(&["guest", "show", "vm21"])?["host_percent"].is_number())
    })?;
    world.drover(&[&words[..], &way[..]].concat())?;
    ensure!(guest.read("/dev/vda")? == written, "the disk is another after the way back");
    let kept = world.lab.virsh("h1", &["dumpxml", "vm21", "--inactive"])?;
    ensure!(kept.contains(&format!("{IMAGES}/vm21-other/vm21.img")), "{kept}");
    let _ = world.lab.virsh("h1", &["destroy", "vm21"]);
    world.lab.exec("h1", &["rm", "-rf", &format!("{IMAGES}/vm21-other")]).map(drop)
}

pub(crate) fn shared_disks_stay_while_local_ones_move(world: &World) -> anyhow::Result<()> {
    let guest = Guest::with(world, "vm22", "h1", GuestDisk::Shared)?;
    let second = format!("{IMAGES}/vm22-second.img");
    world.lab.exec("h1", &["truncate", "-s", "32M", &second])?;
    let attach = ["attach-disk", "vm22", &second, "vdb", "--persistent", "--subdriver", "raw"];
    world.lab.virsh("h1", &[&attach[..], &["--cache", "none"]].concat())?;
    world.until("the second disk", || {
        let shown = world.json(&["guest", "show", "vm22"])?;
        Ok(shown["disks"].as_array().is_some_and(|disks| disks.len() == 2))
    })?;
    let written = (guest.write("/dev/vda")?, guest.write("/dev/vdb")?);
    world.drover(&["guest", "migrate", "vm22", "--to", "h3", "--copy-storage", "full"])?;
    ensure!((guest.read("/dev/vda")?, guest.read("/dev/vdb")?) == written, "a disk is another");
    world.until("a clean source", || is_clean(world, "h1", "vm22"))?;
    let there = world.lab.exec("h3", &["ls", "/srv/shared"])?;
    ensure!(there.contains("vm22.img"), "the shared disk is gone: {there}");
    Ok(())
}

pub(crate) fn a_top_layer_moves_onto_its_backing_file(world: &World) -> anyhow::Result<()> {
    world.lab.define_guest_with("vm23", "h1", GuestDisk::Local, GuestLease::None)?;
    let guest = Guest { world, name: "vm23" };
    let base = format!("{IMAGES}/vm23-base.img");
    let make = format!(
        "rm -f {image}; head -c 32M /dev/zero | tr '\\0' 'b' > {base}; \
         qemu-img create -q -f qcow2 -b {base} -F raw {image}",
        image = guest.image()
    );
    world.lab.exec("h1", &["sh", "-c", &make])?;
    let xml = world.lab.virsh("h1", &["dumpxml", "vm23", "--inactive"])?;
    let file = world.lab.spec().dir.join("hosts/h1/vm23-layer.xml");
    std::fs::write(&file, xml.replace("type='raw'", "type='qcow2'"))?;
    world.lab.virsh("h1", &["define", &file.to_string_lossy()])?;
    world.lab.virsh("h1", &["start", "vm23"])?;
    guest.is_up("h1")?;
    let written = guest.write("/dev/vda")?;
    let words = ["guest", "migrate", "vm23", "--to", "h2", "--copy-storage", "top-layer"];
    let refused = world.drover(&words);
    let error = format!("{:#}", refused.expect_err("the base is not there"));
    ensure!(error.contains("is a layer on"), "{error}");
    ensure!(is_clean(world, "h2", "vm23")?, "the target is not clean");
    let same = format!("head -c 32M /dev/zero | tr '\\0' 'b' > {base}");
    world.lab.exec("h2", &["sh", "-c", &same])?;
    world.drover(&words)?;
    ensure!(guest.read("/dev/vda")? == written, "the disk is another");
    let info = world.lab.exec("h2", &["qemu-img", "info", "-U", &guest.image()])?;
    ensure!(info.contains(&format!("backing file: {base}")), "{info}");
    let source = world.lab.exec("h1", &["ls", IMAGES])?;
    ensure!(source.contains("vm23-base") && !source.contains("vm23.img"), "{source}");
    Ok(())
}

pub(crate) fn a_cancelled_copy_leaves_nothing(world: &World) -> anyhow::Result<()> {
    let guest = Guest::local(world, "vm24", "h1")?;
    let written = guest.write("/dev/vda")?;
    let words = ["guest", "migrate", "vm24", "--to", "h2", "--copy-storage", "full"];
    let slow = ["--max-bandwidth", "2MiB/s", "--no-wait"];
    let begun = world.json(&[&words[..], &slow[..]].concat())?;
    let id = text(&begun, "id").to_owned();
    world.until("the transfer", || {
        Ok(world.json(&["operation", "show", &id])?["state"] == "transferring")
    })?;
    world.drover(&["guest", "cancel", "vm24"])?;
    let ended = world.finished(&id)?;
    ensure!(ended["state"] == "cancelled", "{ended}");
    ensure!(world.home("vm24")? == "h1", "it is not on h1");
    world.until("a clean target", || is_clean(world, "h2", "vm24"))?;
    ensure!(guest.read("/dev/vda")? == written, "the disk is another");
    Ok(())
}

pub(crate) fn a_file_in_the_way_is_left_alone(world: &World) -> anyhow::Result<()> {
    let guest = Guest::local(world, "vm25", "h1")?;
    let image = guest.image();
    world.lab.exec("h2", &["sh", "-c", &format!("echo mine > {image}")])?;
    let refused =
        world.drover(&["guest", "migrate", "vm25", "--to", "h2", "--copy-storage", "full"]);
    let error = format!("{:#}", refused.expect_err("a file is in the way"));
    ensure!(error.contains("already") && error.contains(&image), "{error}");
    ensure!(world.lab.exec("h2", &["cat", &image])?.trim() == "mine", "it was touched");
    ensure!(world.home("vm25")? == "h1", "it is not on h1");
    Ok(())
}

/// A small file system on a host that fills up when the story says so.
struct Small<'w> {
    world: &'w World,
    host: &'static str,
    path: String,
}

impl<'w> Small<'w> {
    fn mount(world: &'w World, host: &'static str) -> anyhow::Result<Self> {
        let small = Self { world, host, path: format!("{IMAGES}/small") };
        world.lab.exec(host, &["mkdir", "-p", &small.path])?;
        small.outside("mount -t tmpfs -o size=40M tmpfs")?;
        Ok(small)
    }

    /// A lab host itself may mount nothing.
    fn outside(&self, what: &str) -> anyhow::Result<()> {
        let pid = self.world.lab.pid_of(self.host, "libvirtd")?;
        run(&format!("nsenter -t {pid} -m {what} {}", self.path)).map(drop)
    }

    fn fill(&self) -> anyhow::Result<()> {
        let line = format!("dd if=/dev/zero of={}/ballast bs=64k 2>&1; true", self.path);
        let told = self.world.lab.exec(self.host, &["sh", "-c", &line])?;
        ensure!(told.contains("No space left"), "it is not full: {told}");
        Ok(())
    }

    fn empty(&self) -> anyhow::Result<()> {
        self.world.lab.exec(self.host, &["rm", "-f", &format!("{}/ballast", self.path)]).map(drop)
    }

    fn is_clean(&self) -> anyhow::Result<bool> {
        let files = self.world.lab.exec(self.host, &["ls", "-A", &self.path])?;
        Ok(files.split_whitespace().all(|file| file == "ballast"))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = self.outside("umount -l");
        let _ = self.world.lab.exec(self.host, &["rmdir", &self.path]);
    }
}

pub(crate) fn a_full_disk_on_the_target_ends_the_copy(world: &World) -> anyhow::Result<()> {
    let guest = Guest::local(world, "vm20", "h1")?;
    let written = guest.write("/dev/vda")?;
    let small = Small::mount(world, "h2")?;
    let map = format!("{IMAGES}={}", small.path);
    let way = ["--copy-storage", "full", "--storage-map", &map, "--max-bandwidth", "4MiB/s"];
    for mode in ["live", "cold"] {
        if mode == "cold" {
            guest.shut_off("h1")?;
        }
        let words = ["guest", "migrate", "vm20", "--to", "h2", "--mode", mode, "--no-wait"];
        let begun = world.json(&[&words[..], &way[..]].concat())?;
        let id = text(&begun, "id").to_owned();
        world.until("the copy", || {
            Ok(world.json(&["operation", "show", &id])?["progress"].is_object())
        })?;
        small.fill()?;
        let ended = world.finished(&id)?;
        ensure!(ended["state"] == "failed", "{mode}: {ended}");
        world.until("a target without the image", || small.is_clean())?;
        ensure!(!world.lab.virsh("h2", &["list", "--all", "--name"])?.contains("vm20"), "{mode}");
        small.empty()?;
        if mode == "live" {
            ensure!(world.home("vm20")? == "h1", "it does not run on h1");
            ensure!(guest.read("/dev/vda")? == written, "the disk is another");
        }
        eprintln!("{mode} on a full disk: {}", text(&ended, "failure"));
    }
    world.lab.virsh("h1", &["start", "vm20"])?;
    guest.is_up("h1")?;
    ensure!(guest.read("/dev/vda")? == written, "the disk is another after the cold copy");
    Ok(())
}

pub(crate) fn a_guest_that_is_shut_off_moves(world: &World) -> anyhow::Result<()> {
    let guest = Guest::with(world, "vm26", "h1", GuestDisk::Shared)?;
    let refused = world.drover(&["guest", "migrate", "vm26", "--mode", "cold", "--to", "h2"]);
    let error = format!("{:#}", refused.expect_err("it runs"));
    ensure!(error.contains("it is running") && error.contains("hint:"), "{error}");
    guest.shut_off("h1")?;
    let refused = world.drover(&["guest", "migrate", "vm26", "--to", "h2"]);
    let error = format!("{:#}", refused.expect_err("it is shut off"));
    ensure!(error.contains("--mode cold"), "{error}");
    world.drover(&["guest", "migrate", "vm26", "--mode", "cold", "--to", "h2"])?;
    let listed = world.lab.virsh("h2", &["list", "--state-shutoff", "--name"])?;
    ensure!(listed.contains("vm26"), "it is not shut off on h2: {listed}");
    world.until("a clean source", || is_clean(world, "h1", "vm26"))?;
    let shown = world.json(&["guest", "show", "vm26"])?;
    ensure!(shown["host"] == "h2" && shown["state"] == "shut-off", "{shown}");
    world.lab.virsh("h2", &["start", "vm26"])?;
    guest.is_up("h2")
}

pub(crate) fn a_cold_guest_boots_from_its_copied_disk(world: &World) -> anyhow::Result<()> {
    let guest = Guest::local(world, "vm27", "h1")?;
    let written = guest.write("/dev/vda")?;
    guest.shut_off("h1")?;
    let words = ["guest", "migrate", "vm27", "--mode", "cold", "--to", "h3", "--auto-start"];
    let told = world.drover(&[&words[..], &["--copy-storage", "full"][..]].concat())?;
    ensure!(told.contains("checksums agree"), "{told}");
    guest.is_up("h3")?;
    ensure!(guest.read("/dev/vda")? == written, "the disk is another");
    world.until("a clean source", || is_clean(world, "h1", "vm27"))
}

pub(crate) fn a_start_in_mid_copy_ends_the_copy(world: &World) -> anyhow::Result<()> {
    let guest = Guest::local(world, "vm28", "h1")?;
    guest.write("/dev/vda")?;
    guest.shut_off("h1")?;
    let words = ["guest", "migrate", "vm28", "--mode", "cold", "--to", "h2"];
    let slow = ["--copy-storage", "full", "--max-bandwidth", "4MiB/s", "--no-wait"];
    let begun = world.json(&[&words[..], &slow[..]].concat())?;
    let id = text(&begun, "id").to_owned();
    world.until("the copy", || {
        Ok(world.json(&["operation", "show", &id])?["progress"].is_object())
    })?;
    world.lab.virsh("h1", &["start", "vm28"])?;
    let ended = world.finished(&id)?;
    ensure!(ended["state"] == "failed", "{ended}");
    ensure!(text(&ended, "failure").contains("by now"), "{ended}");
    world.until("a clean target", || is_clean(world, "h2", "vm28"))?;
    ensure!(world.home("vm28")? == "h1", "it does not run on h1");
    Ok(())
}

pub(crate) fn a_guest_of_a_dead_host_is_rescued(world: &World) -> anyhow::Result<()> {
    let _local = Guest::local(world, "vm29", "h3")?;
    let guest = Guest::with(world, "vm30", "h3", GuestDisk::Shared)?;
    let written = guest.write("/dev/vda")?;
    world.lab.power_off("h3")?;
    world.until("an unreachable host", || {
        Ok(world.json(&["host", "show", "h3"])?["state"] == "unreachable")
    })?;
    let shown = world.json(&["guest", "show", "vm30"])?;
    ensure!(text(&shown, "hint").contains("--mode rescue"), "{shown}");
    let rescue = ["guest", "migrate", "vm30", "--mode", "rescue"];
    let refused = format!("{:#}", world.drover(&rescue).expect_err("without the word"));
    ensure!(refused.contains("nobody vouches"), "{refused}");
    let word = &["--host-is-dead"][..];
    let lost = ["guest", "migrate", "vm29", "--mode", "rescue"];
    let refused = world.drover(&[&lost[..], word].concat());
    let refused = format!("{:#}", refused.expect_err("its disk is on the dead host"));
    ensure!(refused.contains("only h3 has disk vda"), "{refused}");
    let rescued = world.drover(&[&rescue[..], word].concat());
    let back = world.lab.power_on("h3");
    rescued?;
    back?;
    Drover::of(&world.lab).join("h3")?;
    let home = world.home("vm30")?;
    ensure!(home != "h3", "it runs on the dead host");
    world.lab.wait_for_guest("vm30")?;
    ensure!(guest.read("/dev/vda")? == written, "the disk is another");
    world.until("the dead host without the guest", || {
        let defined = world.lab.virsh("h3", &["list", "--all", "--name"])?;
        Ok(!defined.contains("vm30"))
    })?;
    ensure!(world.home("vm30")? == home, "it moved once more");
    let shown = world.json(&["guest", "show", "vm30"])?;
    ensure!(shown["host"] == home.as_str(), "{shown}");
    // The lab's own guest of that host comes up with it again.
    start_again(world)
}

/// Guests that were on the host that lost its power.
fn start_again(world: &World) -> anyhow::Result<()> {
    for name in world.lab.spec().guest_names() {
        let listed = world.lab.virsh("h3", &["list", "--state-shutoff", "--name"])?;
        if listed.split_whitespace().any(|known| known == name) {
            world.lab.virsh("h3", &["start", &name])?;
            world.lab.wait_for_guest(&name).with_context(|| format!("{name} on h3"))?;
        }
    }
    Ok(())
}
