//! Where stories make labs of their own.

use std::path::{Path, PathBuf};

use drover_lab::{Drover, Lab, LabSpec, Releases};

use super::patience::caught;
use super::world::{World, spec};

/// Where the stories' labs and the image are.
fn dir() -> PathBuf {
    std::env::temp_dir().join("drover-lab-test")
}

/// The guests' image, for every lab: it need not be built again.
pub(crate) fn image() -> PathBuf {
    dir().join("image")
}

/// Of the lab that the stories of a lane share; with the image.
pub(crate) fn shared_dir(lane: &str) -> anyhow::Result<PathBuf> {
    let of_lane = dir().join(lane);
    std::fs::create_dir_all(&of_lane)?;
    put_image(&image(), &of_lane)?;
    Ok(of_lane)
}

/// Gives a lab's directory the image.
fn put_image(image: &Path, dir: &Path) -> anyhow::Result<()> {
    drover_lab::make_image(image)?;
    let link = dir.join("image");
    if !link.exists() {
        std::os::unix::fs::symlink(image, link)?;
    }
    Ok(())
}

/// Makes small labs, one after the other.
pub(crate) struct Ground {
    image: PathBuf,
    /// What the hosts of its labs run, unless a story says otherwise.
    releases: Releases,
}

impl Ground {
    pub(crate) fn new(releases: Releases) -> Self {
        Self { image: image(), releases }
    }

    /// The name of a lab: lanes beside each other tell the same story.
    fn name(&self, name: &str) -> String {
        match self.releases {
            Releases::Trixie => name.to_owned(),
            Releases::Bookworm => format!("{name}b"),
            Releases::Mixed => format!("{name}m"),
        }
    }

    /// Tells a story on a small lab of its own, and takes that down in any case.
    pub(crate) fn beside(
        &self,
        name: &str,
        hosts: u8,
        story: impl FnOnce(&World) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.beside_with(name, |spec| LabSpec { hosts, ..spec }, story)
    }

    /// The same on a lab that is made otherwise.
    pub(crate) fn beside_with(
        &self,
        name: &str,
        change: impl FnOnce(LabSpec) -> LabSpec,
        story: impl FnOnce(&World) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        put_image(&self.image, dir.path())?;
        let of_all = spec(dir.path().to_owned())?;
        let own = LabSpec { guests: 0, releases: self.releases, ..of_all };
        let spec = change(LabSpec { name: self.name(name), ..own });
        let world = World::of(Lab::up(spec, &|_| {})?);
        let up = if world.lab.spec().bare { Ok(()) } else { Drover::of(&world.lab).up(&|_| {}) };
        let told = up.and_then(|()| caught(|| story(&world)));
        let down = world.lab.down();
        told.and(down)
    }
}
